"""Promotion: a version registered once, an alias moved once, and both safe to try again.

MLflow cannot compare and set an alias, so two promotions could overwrite each other. Each therefore
writes its journal entry first, moves the alias, and looks again: whoever looks last sees both
entries, and the newer data wins. A reader of the alias sees the old version or the new one,
complete with its tags, and never anything between.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from housing.config import Frozen, Params
from housing.errors import RegistryError
from housing.gate import Verdict
from housing.registry.journal import Entry, close_entry, entries, journal_id, open_entry
from housing.registry.judge import judge
from housing.registry.look import settled
from housing.registry.store import (
    LIMITS,
    METRIC,
    SETTLED,
    VERDICT,
    VERDICT_FILE,
    alias_version,
    live_run,
    moved_aliases,
    result_version,
)
from housing.settings import Settings
from housing.tracking.client import connected
from housing.tracking.result import read_result
from housing.tracking.run import DATA_TIME, HASH, MODEL_ID, RESULT, REVISION, find_or_log

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

PATIENCE = 3_600_000
"""Milliseconds after which an open entry of a peer is taken for abandoned."""


class Promotion(Frozen):
    """What a promotion, an assignment or a rollback did.

    Attributes:
        version: Version that the alias points to now.
        alias: The alias.
        previous: Version that it pointed to before, or None where it had none.
        moved: Whether the alias moved; False where it was there already.
    """

    version: str
    alias: str
    previous: str | None
    moved: bool


def validate(settings: Settings, params: Params) -> Verdict:
    """Judges the result that stands in the workspace, and keeps the verdict in MLflow.

    Nothing is judged where the alias already holds this very result. A result that MLflow does
    not know (any more) is tracked again first.

    Args:
        settings: Where MLflow and the workspace are.
        params: The limits and the names in the registry.

    Raises:
        EvidenceError: The workspace does not hold what ``dvc.lock`` says.
        TrackingUnavailableError: MLflow does not answer; nothing was promoted.
    """
    result = read_result(settings.root)
    unchanged = settled(settings, params, result)
    if unchanged is not None:
        return unchanged
    with connected(settings) as client:
        run = find_or_log(client, settings, params, result)
        with tempfile.TemporaryDirectory(prefix="housing-") as folder:
            verdict = judge(client, params, result, run, Path(folder))
        client.log_dict(verdict.run_id, verdict.to_dict(), VERDICT_FILE)
        client.set_tag(verdict.run_id, VERDICT, summary(verdict))
        return verdict


def promote(
    settings: Settings, params: Params, verdict: Verdict, who: str = "pipeline"
) -> Promotion:
    """Registers the judged run's model once and points the alias to it.

    Safe to call again, after a crash between any two calls too: it goes on where it stopped. Where
    the alias moved since the verdict was made, the result is judged again first.

    Args:
        settings: Where MLflow and the workspace are.
        params: The names in the registry.
        verdict: What `validate` said.
        who: Who is written into the journal.

    Returns:
        The move of the staging alias.

    Raises:
        RegistryError: The verdict is not a pass, is not the one in MLflow, or a model made from
            newer data was promoted meanwhile.
        RunNotFoundError: The run was deleted since the verdict.
        TrackingUnavailableError: MLflow does not answer; the same call later finishes the work.
    """
    if not verdict.passed:
        raise RegistryError(
            f"result {verdict.result} did not pass the gate: {'; '.join(verdict.reasons)}",
            "housing run",
        )
    with connected(settings) as client:
        run = live_run(client, verdict.run_id)
        model = params.registry.model
        if verdict.unchanged and verdict.against is not None:
            return Promotion(
                version=verdict.against,
                alias=verdict.alias,
                previous=verdict.against,
                moved=False,
            )
        if run.data.tags.get(VERDICT) != summary(verdict):
            raise RegistryError(
                f"the verdict on result {verdict.result} is not the one that MLflow holds",
                "run validate_model again",
            )
        verdict = _current_verdict(client, settings, params, verdict)
        version = str(_register(client, model, run, verdict).version)
        moves = [
            move(
                client,
                settings,
                Entry(
                    model=model,
                    alias=alias,
                    kind="promote",
                    from_version=_holder(client, model, alias),
                    to_version=version,
                    who=who,
                    why=f"passed the gate ({verdict.contest})",
                    data_time=int(run.data.tags[DATA_TIME]),
                    evidence={"result": verdict.result, "run_id": verdict.run_id},
                ),
            )
            for alias in moved_aliases(params)
        ]
        client.set_model_version_tag(model, version, SETTLED, "true")
        return moves[0]


def move(client: MlflowClient, settings: Settings, wanted: Entry) -> Promotion:
    """Moves an alias and writes the journal.

    Args:
        client: An open MLflow.
        settings: Names the journal.
        wanted: The move. An open entry for the same move is finished.

    Raises:
        RegistryError: A promotion of newer data goes before this one.
    """
    journal = journal_id(client, settings)
    history = entries(client, journal, wanted.model, wanted.alias)
    begun = [entry for entry in history if _same_move(entry, wanted)]
    arrived = wanted.from_version == wanted.to_version
    if arrived and not begun:
        return _moved(wanted)
    entry = begun[-1] if begun else open_entry(client, journal, wanted)
    _yield_to_newer(client, entry, history)
    if not arrived:
        client.set_registered_model_alias(wanted.model, wanted.alias, wanted.to_version)
    newer = _newer(entry, entries(client, journal, wanted.model, wanted.alias))
    if newer is not None:
        client.set_registered_model_alias(newer.model, newer.alias, newer.to_version)
        _refuse(client, entry, newer)
    close_entry(client, entry, "done")
    return _moved(entry)


def summary(verdict: Verdict) -> str:
    """The verdict as one line of JSON, as it is kept in tags."""
    return json.dumps(verdict.to_dict(), sort_keys=True, separators=(",", ":"))


def _current_verdict(
    client: MlflowClient, settings: Settings, params: Params, verdict: Verdict
) -> Verdict:
    """The verdict, made again where it was made against a model that is no longer in the alias."""
    model = params.registry.model
    holder = alias_version(client, model, params.registry.staging)
    if holder is None and verdict.against is None:
        return verdict
    if holder and (str(holder.version) == verdict.against or holder.run_id == verdict.run_id):
        return verdict
    found = f"version {holder.version}" if holder else "no version"
    if read_result(settings.root).fingerprint != verdict.result:
        raise RegistryError(
            f"{verdict.alias} holds {found} and not {verdict.against} as when result "
            f"{verdict.result} was judged, and the workspace has gone on",
            "run validate_model again",
        )
    fresh = validate(settings, params)
    if not fresh.passed:
        raise RegistryError(
            f"{verdict.alias} now holds {found}, and result {verdict.result} does not pass "
            f"against it: {'; '.join(fresh.reasons)}",
            "nothing: the alias holds the better model",
        )
    return fresh


def _register(client: MlflowClient, model: str, run: Run, verdict: Verdict) -> ModelVersion:
    """The version of a run, registered where it is not yet, with its tags."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = _version_tags(run, verdict)
    run_id = run.info.run_id
    known = result_version(client, model, run_id)
    if known is None:
        model_id = run.data.tags[MODEL_ID]
        mine = client.create_model_version(
            model, f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id
        )
        known = result_version(client, model, run_id) or mine
        if known.version != mine.version:  # two processes registered the same run
            client.delete_model_version(model, str(mine.version))
    for name, value in tags.items():
        if known.tags.get(name) != value:
            client.set_model_version_tag(model, str(known.version), name, value)
    return known


def _version_tags(run: Run, verdict: Verdict) -> dict[str, str]:
    kept = (RESULT, REVISION, DATA_TIME)
    tags = {name: value for name, value in run.data.tags.items() if name.startswith(HASH)}
    tags |= {name: run.data.tags[name] for name in kept}
    tags |= {f"{METRIC}{name}": f"{value:.6g}" for name, value in verdict.metrics.items()}
    return {**tags, VERDICT: summary(verdict), LIMITS: verdict.limits}


def _holder(client: MlflowClient, model: str, alias: str) -> str | None:
    version = alias_version(client, model, alias)
    return str(version.version) if version else None


def _same_move(entry: Entry, wanted: Entry) -> bool:
    return (entry.state, entry.kind, entry.to_version) == ("open", wanted.kind, wanted.to_version)


def _yield_to_newer(client: MlflowClient, entry: Entry, history: tuple[Entry, ...]) -> None:
    newer = _newer(entry, history)
    if newer is not None:
        _refuse(client, entry, newer)


def _newer(mine: Entry, history: tuple[Entry, ...]) -> Entry | None:
    """The promotion with the newest data among those that overlap mine, where it is not mine."""
    if mine.kind != "promote":
        return None  # a person's decision waits for nobody
    rivals = [
        entry
        for entry in history
        if entry.kind == "promote"
        and entry.to_version != mine.to_version
        and _overlaps(entry, mine)
        and (entry.data_time, entry.at, entry.id) > (mine.data_time, mine.at, mine.id)
    ]
    return max(rivals, key=lambda entry: (entry.data_time, entry.at, entry.id), default=None)


def _overlaps(entry: Entry, mine: Entry) -> bool:
    if entry.state == "open":
        return abs(entry.at - mine.at) < PATIENCE
    return entry.state == "done" and (entry.closed_at or 0) >= mine.at


def _refuse(client: MlflowClient, entry: Entry, newer: Entry) -> None:
    close_entry(client, entry, "refused")
    raise RegistryError(
        f"version {newer.to_version}, made from newer data, was promoted to {entry.alias} "
        f"while version {entry.to_version} was",
        "nothing: the alias holds the newer model",
    )


def _moved(entry: Entry) -> Promotion:
    return Promotion(
        version=entry.to_version,
        alias=entry.alias,
        previous=entry.from_version,
        moved=entry.from_version != entry.to_version,
    )

"""Promotion: a version registered once, an alias moved once, and both safe to try again.

A reader of the alias sees the old version or the new one, complete with its tags, and never
anything between.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain.config import Params
from housing.domain.verdict import Verdict
from housing.errors import AliasMovedError, EvidenceError, RegistryError
from housing.mlops.registry.alias_move import Promotion, move
from housing.mlops.registry.client import (
    LIMITS,
    METRIC,
    SETTLED,
    VERDICT,
    VERDICT_FILE,
    alias_version,
    live_run,
    moved_aliases,
    number_of,
    result_version,
    tag_version,
)
from housing.mlops.registry.fast_check import settled
from housing.mlops.registry.journal import Entry
from housing.mlops.registry.reach import overrides_of, require_promotable, within_reach
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.digest import BUNDLE
from housing.mlops.tracking.result import read_result
from housing.mlops.tracking.tracked_run import (
    DATA_TIME,
    HASH,
    MODEL_ID,
    RESULT,
    REVISION,
    find_or_log,
    set_run_tag,
)
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

TRIES = 5
"""How often a promotion starts again because somebody else moved the alias meanwhile."""


def validate(
    settings: Settings, params: Params, bring: Callable[[], object] = lambda: None
) -> Verdict:
    """Judges the result that stands in the workspace, and keeps the verdict in MLflow.

    Nothing is judged where the alias already holds this very result. A result that MLflow does
    not know (any more) is tracked again first.

    Args:
        settings: Where MLflow and the workspace are.
        params: The limits and the names in the registry.
        bring: Lays the result's files into a workspace that has but its report, see `find_or_log`.

    Raises:
        EvidenceError: The workspace does not hold what ``dvc.lock`` says.
        TrackingUnavailableError: MLflow does not answer; nothing was promoted.
    """
    result = read_result(settings.root)
    params = within_reach(params, settings.overrides)
    unchanged = settled(settings, params, result)
    if unchanged is not None:
        return unchanged
    from housing.mlops.registry.gate_evaluation import judge  # numpy and polars, for new results

    with connected(settings) as client:
        run = find_or_log(client, settings, params, result, bring)
        with tempfile.TemporaryDirectory(prefix="housing-") as folder:
            verdict = judge(client, params, result, run, Path(folder))
        client.log_dict(verdict.run_id, verdict.to_dict(), VERDICT_FILE)
        set_run_tag(client, verdict.run_id, VERDICT, summary(verdict))
        return verdict


def promote(
    settings: Settings, params: Params, verdict: Verdict, who: str = "pipeline"
) -> Promotion:
    """Registers the judged run's model once and points the alias to it.

    Safe to call again, after a crash between any two calls too: it goes on where it stopped. Where
    the alias moved since the verdict was made, the result is judged again first. A result made
    with overrides moves the staging alias only, and only where they leave alone what the gate
    judges by.

    Args:
        settings: Where MLflow and the workspace are.
        params: The names in the registry.
        verdict: What `validate` said.
        who: Who is written into the journal.

    Returns:
        The move of the staging alias.

    Raises:
        EvidenceError: The run names another logged model than the one that was judged.
        RegistryError: The verdict is not a pass, is not the one in MLflow, a model made from newer
            data was promoted meanwhile, or overrides shape the evidence.
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
        if verdict.unchanged and verdict.against is not None:
            held = verdict.against
            return Promotion(version=held, alias=verdict.alias, previous=held, moved=False)
        if run.data.tags.get(VERDICT) != summary(verdict):
            raise RegistryError(
                f"the verdict on result {verdict.result} is not the one that MLflow holds",
                "run validate_model again",
            )
        if run.data.tags.get(BUNDLE) != verdict.bundle:
            raise EvidenceError(
                f"run {verdict.run_id} no longer names the model that was judged: its digest is "
                f"{run.data.tags.get(BUNDLE)}, not {verdict.bundle}",
                "run validate_model again",
            )
        overrides = overrides_of(settings, run)
        require_promotable(verdict.result, overrides)
        params = within_reach(params, overrides)
        for _ in range(TRIES - 1):
            with suppress(AliasMovedError):
                return _promote(client, settings, params, verdict, run, who)
        return _promote(client, settings, params, verdict, run, who)


def _promote(  # noqa: PLR0913, PLR0917 - one try of `promote`, with what it has found out
    client: MlflowClient, settings: Settings, params: Params, verdict: Verdict, run: Run, who: str
) -> Promotion:
    model = params.registry.model
    held = {alias: alias_version(client, model, alias) for alias in moved_aliases(params)}
    verdict = _current_verdict(settings, params, verdict, held)
    version = str(_register(client, model, run, verdict).version)
    moves = [
        move(
            client,
            settings,
            Entry(
                model=model,
                alias=alias,
                kind="promote",
                from_version=number_of(before),
                to_version=version,
                who=who,
                why=f"passed the gate ({verdict.contest})",
                data_time=int(run.data.tags[DATA_TIME]),
                evidence={
                    "result": verdict.result,
                    "run_id": verdict.run_id,
                    "bundle": verdict.bundle,
                },
            ),
        )
        for alias, before in held.items()
    ]
    tag_version(client, model, version, SETTLED, "true")
    return moves[0]


def summary(verdict: Verdict) -> str:
    """The verdict as one line of JSON, as it is kept in tags."""
    return json.dumps(verdict.to_dict(), sort_keys=True, separators=(",", ":"))


def _current_verdict(
    settings: Settings, params: Params, verdict: Verdict, held: Mapping[str, ModelVersion | None]
) -> Verdict:
    """The verdict, made again where it was made against a model that is no longer in its alias."""
    names = params.registry
    judged = {names.champion: verdict.champion, names.staging: verdict.against}
    gone_on = [
        f"{alias} now holds {f'version {holder.version}' if holder else 'no version'}, "
        f"not {judged[alias]} as when result {verdict.result} was judged"
        for alias, holder in held.items()
        if number_of(holder) != judged[alias] and not (holder and holder.run_id == verdict.run_id)
    ]
    if not gone_on:
        return verdict
    if read_result(settings.root).fingerprint != verdict.result:
        raise RegistryError(
            f"{' and '.join(gone_on)}, and the workspace has gone on",
            "run validate_model again",
        )
    fresh = validate(settings, params)
    if not fresh.passed:
        raise RegistryError(
            f"{' and '.join(gone_on)}; it does not pass against it: {'; '.join(fresh.reasons)}",
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
            tag_version(client, model, str(known.version), name, value)
    table = _description(verdict)
    if known.description != table:
        client.update_model_version(model, str(known.version), table)
    return known


def _description(verdict: Verdict) -> str:
    """The verdict as a table of Markdown, for the version's page in MLflow."""
    rows = [
        ("passed" if check.passed else "FAILED", check.name, check.sentence.replace("|", "/"))
        for check in verdict.checks
    ]
    lines = [("", "check", "finding"), ("---",) * 3, *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    against = f"version {verdict.against}" if verdict.against else "no version"
    return f"Passed the gate ({verdict.contest}, against {against}).\n\n{table}"


def _version_tags(run: Run, verdict: Verdict) -> dict[str, str]:
    kept = (RESULT, REVISION, DATA_TIME, BUNDLE)
    tags = {name: value for name, value in run.data.tags.items() if name.startswith(HASH)}
    tags |= {name: run.data.tags[name] for name in kept}
    tags |= {f"{METRIC}{name}": f"{value:.6g}" for name, value in verdict.metrics.items()}
    return {**tags, VERDICT: summary(verdict), LIMITS: verdict.limits}

"""The registry as plain data, for the dashboard, the command line and a person's decision."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain import gate
from housing.domain.columns import Frozen
from housing.domain.config import Params, Registered
from housing.domain.gate import Check, Verdict
from housing.engine.errors import typeable
from housing.errors import RegistryError
from housing.mlops.registry.client import (
    VERDICT,
    WITHDRAWN,
    alias_version,
    find_run,
    get_version,
)
from housing.mlops.registry.gate_evaluation import compared, contest_of
from housing.mlops.registry.journal import Entry, entries, journal_id
from housing.mlops.registry.proof import run_behind
from housing.mlops.registry.run_artifacts import Record, download
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.digest import require
from housing.mlops.tracking.tracked_run import DATA_TIME, OVERRIDES, RESULT, REVISION
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


SHOWN = frozenset({"test", "validation", "interval", "rows", "seconds"})
"""First words of the metrics that describe a version; the learning curves are left out."""


class Version(Frozen):
    """One version of the registered model.

    Attributes:
        version: Its number.
        aliases: Aliases that point to it.
        result: Fingerprint of the result it was made from.
        run_id: Its MLflow run.
        git_revision: The commit it was made by.
        created_at: When it was registered, in milliseconds since 1970.
        age_seconds: Seconds since then.
        data_time: When its data was ingested, in milliseconds since 1970.
        metrics: Every metric of its run: `test_rmse`, `test_rmse_low`, `validation_rmse`, ...; none
            where the run is gone.
        verdict: What the gate said of it.
        withdrawn: Why it was rolled back, or None.
        overrides: The parameter overrides that it was made with.
    """

    version: str
    aliases: tuple[str, ...]
    result: str
    run_id: str
    git_revision: str
    created_at: int
    age_seconds: float
    data_time: int
    metrics: dict[str, float]
    verdict: Verdict | None
    withdrawn: str | None
    overrides: tuple[str, ...] = ()


class SideBySide(Frozen):
    """Challenger against champion, as a person sees them before deciding.

    Attributes:
        challenger: The version in the staging alias.
        champion: The version in the champion alias, or None.
        checks: The gain on common held-out rows, and the slices.
    """

    challenger: Version
    champion: Version | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, also those that the gate made of the challenger."""
        verdict = self.challenger.verdict
        return all(check.passed for check in self.checks) and (verdict is None or verdict.passed)


def versions(settings: Settings, params: Registered) -> tuple[Version, ...]:
    """Every version with its metrics, intervals and verdict, oldest first.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.

    Raises:
        TrackingUnavailableError: MLflow does not answer.
    """
    with connected(settings) as client:
        pointers = _pointers(client, params.registry.model)
        found = client.search_model_versions(f"name = '{params.registry.model}'")
        ours = [version for version in found if RESULT in version.tags]
        ours.sort(key=lambda version: int(version.version))
        return tuple(_version(client, version, pointers) for version in ours)


def aliases(settings: Settings, params: Registered) -> dict[str, Version]:
    """The version that each alias points to, by alias.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.

    Raises:
        TrackingUnavailableError: MLflow does not answer.
    """
    model = params.registry.model
    with connected(settings) as client:
        pointers = _pointers(client, model)
        held = {alias: alias_version(client, model, alias) for alias in sorted(pointers)}
        return {
            alias: _version(client, version, pointers)
            for alias, version in held.items()
            if version is not None and RESULT in version.tags
        }


def read_journal(
    settings: Settings, params: Registered, alias: str | None = None
) -> tuple[Entry, ...]:
    """Every move of an alias, oldest first: who, when, from, to, why, on what evidence.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.
        alias: Only this alias.

    Raises:
        TrackingUnavailableError: MLflow does not answer.
    """
    with connected(settings) as client:
        return entries(client, journal_id(client, settings), params.registry.model, alias)


def side_by_side(settings: Settings, params: Params | Registered) -> SideBySide:
    """Compares the version in staging with the champion, for a person to decide.

    Without all of the params, which may have faults while a person has to decide, the metrics stand
    side by side, and a check says that nothing was compared row by row.

    Args:
        settings: Where MLflow is.
        params: The limits and the names in the registry.

    Raises:
        EvidenceError: One of them is not what was judged: a file of its model differs.
        RegistryError: Nothing is in staging.
        RunNotFoundError: The run of one of them was deleted.
        TrackingUnavailableError: MLflow does not answer.
    """
    names = params.registry
    held = aliases(settings, params)
    if names.staging not in held:
        raise RegistryError(f"{names.staging} points to no version of {names.model}", "housing run")
    challenger, champion = held[names.staging], held.get(names.champion)
    if champion is None:
        with connected(settings) as client:  # nobody is asked about a version that cannot be taken
            run_behind(client, get_version(client, names.model, challenger.version))
        return SideBySide(challenger=challenger, champion=None, checks=())
    if not isinstance(params, Params):
        look = typeable("housing doctor")
        fault = f"not compared on the same rows: params.yaml has faults, see: {look}"
        missing = gate.fact("common_rows", fault, "")
        return SideBySide(challenger=challenger, champion=champion, checks=(missing,))
    with connected(settings) as client, tempfile.TemporaryDirectory(prefix="housing-") as folder:
        records: list[Record] = []
        for version in (challenger, champion):
            place = Path(folder) / str(len(records))
            place.mkdir()
            run = run_behind(client, get_version(client, names.model, version.version))
            record = download(run, place)
            if record.digest is not None:
                require(record.bundle, record.digest, f"version {version.version} of {names.model}")
            records.append(record)
        mine, rival = records
        checks = (
            gate.newer(mine.data_time, rival.data_time),
            *compared(params, mine, rival, contest_of(mine, rival)),
        )
    return SideBySide(challenger=challenger, champion=champion, checks=checks)


def _pointers(client: MlflowClient, model: str) -> dict[str, str]:
    """Version that each alias points to; none where nothing was registered yet."""
    found = client.search_registered_models(f"name = '{model}'")
    return {alias: str(version) for one in found for alias, version in one.aliases.items()}


def _version(client: MlflowClient, version: ModelVersion, pointers: dict[str, str]) -> Version:
    number, tags = str(version.version), version.tags
    run = find_run(client, version.run_id or "")
    metrics = run.data.metrics if run else {}
    overrides = run.data.tags.get(OVERRIDES, "") if run else ""
    return Version(
        version=number,
        aliases=tuple(alias for alias, target in sorted(pointers.items()) if target == number),
        result=tags[RESULT],
        run_id=version.run_id or "",
        git_revision=tags.get(REVISION, ""),
        created_at=version.creation_timestamp,
        age_seconds=time.time() - version.creation_timestamp / 1000,
        data_time=int(tags[DATA_TIME]),
        metrics={name: value for name, value in metrics.items() if name.split("_")[0] in SHOWN},
        verdict=Verdict.model_validate_json(tags[VERDICT]) if VERDICT in tags else None,
        withdrawn=tags.get(WITHDRAWN),
        overrides=tuple(overrides.splitlines()),
    )

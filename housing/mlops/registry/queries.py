"""The registry as plain data, for the dashboard, the command line and a person's decision."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from housing.domain.columns import Frozen
from housing.domain.config import Registered
from housing.domain.verdict import Verdict
from housing.mlops.registry.client import (
    VERDICT,
    WITHDRAWN,
    alias_version,
    find_run,
)
from housing.mlops.registry.journal import Entry, entries, journal_id
from housing.mlops.tracking.connection import connected
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

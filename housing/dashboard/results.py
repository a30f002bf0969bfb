"""The results of the pipeline as MLflow holds them: one run each, and maybe a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from housing.dashboard.model import METRICS, Estimate, Result
from housing.dashboard.rows import HISTORY
from housing.domain.config import Params
from housing.domain.overrides import never_promoted
from housing.domain.verdict import Verdict
from housing.mlops.registry.client import DECLINED, VERDICT, WITHDRAWN, find_run
from housing.mlops.tracking.tracked_run import (
    CANDIDATE,
    COMPLETE,
    DATA_TIME,
    OVERRIDES,
    RESULT,
    experiment_id,
)
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Registry:
    """The registered model.

    Attributes:
        versions: The version that was registered from a run, by the run's id.
        holders: Id of the run in each alias.
    """

    versions: Mapping[str, ModelVersion]
    holders: Mapping[str, str]


def read_registry(client: MlflowClient, model: str) -> Registry:
    """Reads the versions and the aliases of a registered model.

    Args:
        client: An open MLflow.
        model: Its name.
    """
    wanted = f"name = '{model}'"
    # A version that somebody registered by hand may come from no run: nothing is known of it.
    known = [item for item in client.search_model_versions(wanted) if item.run_id]
    runs = {str(item.version): str(item.run_id) for item in known}
    held = [item.aliases for item in client.search_registered_models(wanted)]
    return Registry(
        {str(item.run_id): item for item in known},
        {
            alias: runs[str(version)]
            for names in held
            for alias, version in names.items()
            if str(version) in runs
        },
    )


def newest_runs(client: MlflowClient, settings: Settings, limit: int) -> list[Run]:
    """The runs of the newest results, newest first.

    Args:
        client: An open MLflow.
        settings: Names the experiment.
        limit: How many.
    """
    experiment = experiment_id(client, settings.experiment, settings.artifact_location)
    return list(
        client.search_runs(
            [experiment],
            f"tags.`{COMPLETE}` = 'true'",
            order_by=["attributes.start_time DESC"],
            max_results=limit,
        )
    )


def read_results(
    client: MlflowClient, settings: Settings, params: Params, registry: Registry
) -> tuple[Result, ...]:
    """The newest results, and those that an alias points to; newest last.

    Args:
        client: An open MLflow.
        settings: Names the experiment.
        params: Names the model, and says how close a result may be kept back.
        registry: The registered model.
    """
    runs = newest_runs(client, settings, HISTORY)
    missing = set(registry.holders.values()) - {run.info.run_id for run in runs}
    # `mlflow gc` removes runs that a version still names: nothing can be shown of those.
    runs += [run for run_id in missing if (run := find_run(client, run_id)) is not None]
    runs.sort(key=lambda run: run.info.start_time)
    model = params.registry.model
    return tuple(
        _result(settings, model, run, registry.versions.get(run.info.run_id)) for run in runs
    )


def moment(milliseconds: int) -> datetime:
    """A time of MLflow's as one of Python's."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _result(settings: Settings, model: str, run: Run, version: ModelVersion | None) -> Result:
    tags, own = run.data.tags, version.tags if version else {}
    # The version keeps the verdict that let it pass; the run keeps the last one.
    last = _verdict(tags)
    verdict = _verdict(own) or last
    number = str(version.version) if version else ""
    overrides = tuple(tags.get(OVERRIDES, "").splitlines())
    return Result(
        name=f"v{number}" if version else tags[RESULT][:6],
        run_id=run.info.run_id,
        created=moment(run.info.start_time),
        candidate=tags[CANDIDATE],
        version=int(number) if version else None,
        metrics=_metrics(run.data.metrics),
        verdict=verdict,
        later=last if last != verdict else None,
        withdrawn=own.get(WITHDRAWN, ""),
        declined=own.get(DECLINED, ""),
        overrides=overrides,
        kept_back="" if version else _kept_back(overrides, verdict),
        data_time=moment(int(tags[DATA_TIME])) if DATA_TIME in tags else None,
        run_link=settings.run_address(run.info.run_id),
        version_link=settings.version_address(model, number) if version else "",
    )


def _verdict(tags: Mapping[str, str]) -> Verdict | None:
    return Verdict.model_validate_json(tags[VERDICT]) if VERDICT in tags else None


def _kept_back(overrides: tuple[str, ...], verdict: Verdict | None) -> str:
    """Why a result with overrides is not in staging, or "" where overrides are not why."""
    if not overrides:
        return ""
    never = never_promoted(overrides)
    if never or verdict is None or not verdict.passed:
        return never
    return "its run did not ask for the promotion of a model with overrides"


def _metrics(logged: Mapping[str, float]) -> dict[str, Estimate]:
    return {
        name: Estimate(
            logged[f"test_{name}"], logged.get(f"test_{name}_low"), logged.get(f"test_{name}_high")
        )
        for name in METRICS
        if f"test_{name}" in logged
    }

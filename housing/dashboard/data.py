"""Collects what the dashboard shows from MLflow: runs, registry, journal, and their files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from housing.dashboard import points
from housing.dashboard.files import RunFiles
from housing.dashboard.history import read_runs
from housing.dashboard.model import (
    METRICS,
    Alias,
    DashboardData,
    Delivery,
    Detail,
    Estimate,
    Move,
    Quality,
    Region,
    Result,
)
from housing.dashboard.rows import HISTORY, RUNS
from housing.domain.config import Params
from housing.domain.drift import drift
from housing.domain.gate import Verdict
from housing.mlops.registry.client import VERDICT, find_run
from housing.mlops.registry.journal import Entry, entries, journal_id
from housing.mlops.tracking.result import PREDICTIONS, REPORT
from housing.mlops.tracking.tracked_run import CANDIDATE, COMPLETE, RESULT, experiment_id
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

QUALITY = "reports/data_quality.json"
MOVES = 20
"""Alias moves on the page."""


def collect(client: MlflowClient, settings: Settings, params: Params) -> DashboardData:
    """Reads everything that the page shows.

    Args:
        client: An open MLflow.
        settings: Names the experiment.
        params: Names the model and its aliases, and the gate's limits.

    Raises:
        TrackingError: An experiment was deleted.
    """
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        files = RunFiles(Path(folder))
        journal = entries(client, journal_id(client, settings), params.registry.model)
        registry = _registry(client, params.registry.model)
        results = _results(client, settings, registry)
        aliases = _aliases(params, registry, results, journal)
        return DashboardData(
            model=params.registry.model,
            made=datetime.now(UTC),
            limits={"rmse": params.gate.max_rmse, "r2_score": params.gate.min_r2},
            staging=params.registry.staging,
            champion=params.registry.champion,
            results=results,
            aliases=aliases,
            details=tuple(_details(aliases, results, params.registry.champion, files)),
            moves=tuple(_moves(journal)),
            quality=_quality(aliases, results, params.registry.champion, files),
            runs=tuple(read_runs(client, settings, files, RUNS)),
        )


@dataclass(frozen=True)
class _Registry:
    """The registered model.

    Attributes:
        runs: Id of the run by version.
        aliases: Version by alias.
    """

    runs: dict[str, str]
    aliases: dict[str, str]

    def version(self, run_id: str) -> int | None:
        """The version that was registered from a run."""
        return next((int(version) for version, run in self.runs.items() if run == run_id), None)


def _registry(client: MlflowClient, model: str) -> _Registry:
    wanted = f"name = '{model}'"
    versions = client.search_model_versions(wanted)
    # A version that somebody registered by hand may come from no run: nothing is known of it.
    runs = {str(item.version): item.run_id for item in versions if item.run_id}
    held = [item.aliases for item in client.search_registered_models(wanted)]
    aliases = {
        alias: str(version)
        for names in held
        for alias, version in names.items()
        if str(version) in runs
    }
    return _Registry(runs, aliases)


def _results(client: MlflowClient, settings: Settings, registry: _Registry) -> tuple[Result, ...]:
    """The newest results, and those that an alias points to."""
    experiment = experiment_id(client, settings.experiment, settings.artifact_location)
    runs = list(
        client.search_runs(
            [experiment],
            f"tags.`{COMPLETE}` = 'true'",
            order_by=["attributes.start_time DESC"],
            max_results=HISTORY,
        )
    )
    held = {registry.runs[version] for version in registry.aliases.values()}
    missing = held - {run.info.run_id for run in runs}
    # `mlflow gc` removes runs that a version still names: nothing can be shown of those.
    runs += [run for run_id in missing if (run := find_run(client, run_id)) is not None]
    runs.sort(key=lambda run: run.info.start_time)
    return tuple(_result(run, registry.version(run.info.run_id)) for run in runs)


def _result(run: Run, version: int | None) -> Result:
    verdict = run.data.tags.get(VERDICT)
    return Result(
        name=f"v{version}" if version else run.data.tags[RESULT][:6],
        run_id=run.info.run_id,
        created=_moment(run.info.start_time),
        candidate=run.data.tags[CANDIDATE],
        version=version,
        metrics=_metrics(run.data.metrics),
        verdict=Verdict.model_validate_json(verdict) if verdict else None,
    )


def _metrics(logged: dict[str, float]) -> dict[str, Estimate]:
    return {
        name: Estimate(
            logged[f"test_{name}"], logged.get(f"test_{name}_low"), logged.get(f"test_{name}_high")
        )
        for name in METRICS
        if f"test_{name}" in logged
    }


def _aliases(
    params: Params, registry: _Registry, results: Sequence[Result], journal: Sequence[Entry]
) -> tuple[Alias, ...]:
    by_run = {result.run_id: result for result in results}
    found = []
    for name in (params.registry.champion, params.registry.staging):
        result = by_run.get(registry.runs.get(registry.aliases.get(name, ""), ""))
        if result is None:
            continue
        moves = [entry.at for entry in journal if entry.alias == name and entry.state == "done"]
        # Somebody may have set the alias by hand, past the journal.
        since = _moment(moves[-1]) if moves else result.created
        found.append(Alias(name, result, since))
    return tuple(found)


def _details(
    aliases: Sequence[Alias], results: Sequence[Result], champion: str, files: RunFiles
) -> Iterator[Detail]:
    roles: dict[str, list[str]] = {}
    for alias in aliases:
        roles.setdefault(alias.result.run_id, []).append(alias.name)
    if results:
        roles.setdefault(results[-1].run_id, []).append("newest")
    by_run = {result.run_id: result for result in results}
    tables = {run_id: files.table(run_id, PREDICTIONS) for run_id in roles}
    rival = tables.get(_holder(aliases, champion) or "")
    for run_id, names in roles.items():
        table = tables[run_id]
        report = files.json(run_id, REPORT)
        if table is None or report is None or table.is_empty():
            continue
        interval = report["prediction_interval"]
        yield Detail(
            result=by_run[run_id],
            role=", ".join(names),
            rows=len(table),
            points=points.sample(table),
            cells=points.cells(table),
            deciles=points.deciles(table, rival),
            regions=tuple(
                Region(region["region"], region["rows"], region["rmse"], region["mean"])
                for region in report["residuals"]["by_region"]
            ),
            coverage=points.coverage(table),
            nominal=interval["nominal"],
            halfwidth=interval["halfwidth"],
        )


def _quality(
    aliases: Sequence[Alias], results: Sequence[Result], champion: str, files: RunFiles
) -> Quality | None:
    report = files.json(results[-1].run_id, QUALITY) if results else None
    if report is None:
        return None
    holder = _holder(aliases, champion)
    reference = files.json(holder, QUALITY) if holder else None
    columns: dict[str, Any] = reference["columns"] if reference else {}
    return Quality(
        rows_in=report["rows_in"],
        rows_kept=report["rows_kept"],
        rows_quarantined=report["rows_quarantined"],
        rows_duplicate=report["rows_duplicate"],
        reasons=report["reasons"],
        deliveries=tuple(
            Delivery(name, file["rows"], drift(columns, file["columns"]))
            for name, file in report["files"].items()
        ),
    )


def _holder(aliases: Sequence[Alias], name: str) -> str | None:
    """Run of the result that an alias points to."""
    return next((alias.result.run_id for alias in aliases if alias.name == name), None)


def _moves(journal: Sequence[Entry]) -> Iterator[Move]:
    for entry in journal[: -MOVES - 1 : -1]:
        yield Move(
            time=_moment(entry.at),
            alias=entry.alias,
            before=f"v{entry.from_version}" if entry.from_version else "none",
            after=f"v{entry.to_version}",
            who=entry.who,
            why=entry.why if entry.state == "done" else f"{entry.why} ({entry.state})",
        )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)

"""Collects what the dashboard shows from MLflow: runs, registry, journal, and their files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from housing.dashboard import points
from housing.dashboard.changes import QUALITY, compare_runs
from housing.dashboard.explained import read_explained
from housing.dashboard.files import RunFiles
from housing.dashboard.history import read_runs
from housing.dashboard.live import read_live
from housing.dashboard.model import (
    Alias,
    Changes,
    DashboardData,
    Delivery,
    Detail,
    Live,
    Move,
    Quality,
    Region,
    Result,
)
from housing.dashboard.results import Registry, moment, read_registry, read_results
from housing.dashboard.runs import SHOWN
from housing.domain.config import Params
from housing.domain.drift import drift
from housing.mlops.registry.client import find_run
from housing.mlops.registry.journal import Entry, entries, journal_id
from housing.mlops.tracking.result import PREDICTIONS, REPORT
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
        registry = read_registry(client, params.registry.model)
        results = read_results(client, settings, params, registry)
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
            runs=tuple(read_runs(client, settings, files, SHOWN)),
            live=_live(client, settings, aliases, params.registry.champion, files),
            changes=_changes(client, results, aliases, params.registry.champion, files),
        )


def _aliases(
    params: Params, registry: Registry, results: Sequence[Result], journal: Sequence[Entry]
) -> tuple[Alias, ...]:
    by_run = {result.run_id: result for result in results}
    found = []
    for name in (params.registry.champion, params.registry.staging):
        result = by_run.get(registry.holders.get(name, ""))
        if result is None:
            continue
        moves = [entry.at for entry in journal if entry.alias == name and entry.state == "done"]
        # Somebody may have set the alias by hand, past the journal.
        since = moment(moves[-1]) if moves else result.created
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
    edge = points.edge(table for table in tables.values() if table is not None)
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
            cells=points.cells(table, edge),
            deciles=points.deciles(table, rival),
            regions=tuple(
                Region(region["region"], region["rows"], region["rmse"], region["mean"])
                for region in report.get("residuals", {}).get("by_region", ())
            ),
            coverage=points.coverage(table),
            nominal=interval["nominal"],
            halfwidth=interval["halfwidth"],
            edge=edge,
            explained=read_explained(run_id, files),
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


def _live(
    client: MlflowClient,
    settings: Settings,
    aliases: Sequence[Alias],
    champion: str,
    files: RunFiles,
) -> Live | None:
    holder = _holder(aliases, champion)
    return read_live(client, settings, holder, files.json(holder, QUALITY)) if holder else None


def _changes(
    client: MlflowClient,
    results: Sequence[Result],
    aliases: Sequence[Alias],
    champion: str,
    files: RunFiles,
) -> Changes | None:
    """The newest result against the champion, else against the version before it."""
    if not results:
        return None
    newest, holder = results[-1], _holder(aliases, champion)
    others = [result for result in results[:-1] if result.version or not newest.version]
    live = [result for result in others if result.run_id == holder]
    known = live or others
    if not known:
        return None
    before = known[-1]
    older, newer = (find_run(client, side.run_id) for side in (before, newest))
    if older is None or newer is None:
        return None
    return compare_runs(before, newest, (older, newer), files)


def _holder(aliases: Sequence[Alias], name: str) -> str | None:
    """Run of the result that an alias points to."""
    return next((alias.result.run_id for alias in aliases if alias.name == name), None)


def _moves(journal: Sequence[Entry]) -> Iterator[Move]:
    for entry in journal[: -MOVES - 1 : -1]:
        yield Move(
            time=moment(entry.at),
            alias=entry.alias,
            before=f"v{entry.from_version}" if entry.from_version else "none",
            after=f"v{entry.to_version}",
            who=entry.who,
            why=entry.why if entry.state == "done" else f"{entry.why} ({entry.state})",
        )

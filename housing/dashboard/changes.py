"""What differs between two results: their parameters, data, code and features."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from housing.dashboard.files import RunFiles
from housing.dashboard.model import Change, Changes, Result
from housing.engine.errors import GraphError
from housing.engine.execution import lockfile
from housing.mlops.registry.client import tagged_hashes
from housing.mlops.tracking.result import DATA, REPORT
from housing.mlops.tracking.tracked_run import REVISION

if TYPE_CHECKING:
    from mlflow.entities import Run

_log = logging.getLogger(__name__)

QUALITY = "reports/data_quality.json"
LOCK = "dvc.lock"


def compare_runs(before: Result, after: Result, runs: tuple[Run, Run], files: RunFiles) -> Changes:
    """Compares two results by what MLflow holds of them.

    Args:
        before: The older result, or the one that is live.
        after: The other one.
        runs: Their MLflow runs, in the same order.
        files: Where downloads go.
    """
    older, newer = runs
    params = _differences(older.data.params, newer.data.params)
    return Changes(
        before=before.name,
        after=after.name,
        candidates=(before.candidate, after.candidate),
        params=tuple(Change(*row) for row in params),
        data=_data(older, newer, files),
        code=tuple(Change(*row) for row in _code(before, after, files)),
        revisions=(older.data.tags.get(REVISION, ""), newer.data.tags.get(REVISION, "")),
        features=tuple(Change(*row) for row in _features(before, after, files)),
    )


def _data(older: Run, newer: Run, files: RunFiles) -> tuple[Change, ...]:
    hashes = [tagged_hashes(run.data.tags).get(DATA, "") for run in (older, newer)]
    if hashes[0] == hashes[1]:
        return ()
    reports = [files.json(run.info.run_id, QUALITY) or {} for run in (older, newer)]
    rows = [
        {name: f"{f['rows']:,} rows" for name, f in r.get("files", {}).items()} for r in reports
    ]
    kept = tuple(f"{r['rows_kept']:,}" if "rows_kept" in r else "" for r in reports)
    found = [Change(*row) for row in _differences(*rows)]
    return (Change("rows kept", *kept), *found)


def _code(before: Result, after: Result, files: RunFiles) -> list[tuple[str, str, str]]:
    """Files of code whose bytes differ, by the hashes that DVC recorded."""
    return _differences(*(code_hashes(files.text(r.run_id, LOCK)) for r in (before, after)))


def code_hashes(lock: str | None) -> dict[str, str]:
    """The start of the hash of each file of code that a stage depends on, by path.

    Args:
        lock: Content of a ``dvc.lock``, or None; a broken one is named in the log.
    """
    try:
        entries = lockfile.parse_text(lock, Path(LOCK)).values() if lock else ()
    except GraphError as error:
        _log.warning("what MLflow holds of a run is broken and left out: %s", error.fact)
        return {}
    return {
        path: md5[:6]
        for entry in entries
        for path, md5 in entry.deps.items()
        if path.endswith(".py")
    }


def _features(before: Result, after: Result, files: RunFiles) -> list[tuple[str, str, str]]:
    names = [
        dict.fromkeys((files.json(r.run_id, REPORT) or {}).get("importance", {}), "there")
        for r in (before, after)
    ]
    return _differences(*names)


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Name, value before and value after of what differs; "" where one side has none."""
    return [
        (name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]

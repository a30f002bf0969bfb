"""Removes the copies that runs left behind, where they are provably nobody's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from housing.engine.airflow.workspace import COPY, PARTIAL, changing, noted, remove_copy

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol


def sweep(places: Path, ti: RuntimeTaskInstanceProtocol) -> list[str]:
    """Removes the copies of runs that are over, and everything of runs that Airflow forgot.

    A task that was cleared in a finished run makes the run's copy anew, and no summary comes after
    it; a run that was killed or deleted has none either. A copy in which a task works is left
    alone, whatever Airflow says; and one that is needed again is made again.

    Args:
        places: The folder of the places of all runs, see `workspace.places_of`.
        ti: A running task, which can ask Airflow.

    Returns:
        Names of the folders from which something was removed.
    """
    if not places.is_dir():
        return []
    swept = []
    with changing(places):
        for place in sorted(places.iterdir()):
            run = noted(place)
            known = bool(run) and _count(ti, run) > 0
            has_copy = (place / COPY).exists() or (place / PARTIAL).exists()
            if known and (not has_copy or _count(ti, run, "queued", "running")):
                continue
            if remove_copy(place):
                swept.append(place.name)
                if not known:
                    shutil.rmtree(place, ignore_errors=True)
    return swept


def _count(ti: RuntimeTaskInstanceProtocol, run: dict[str, str], *states: str) -> int:
    return ti.get_dr_count(
        dag_id=run["dag_id"], run_ids=[run["run_id"]], states=list(states) or None
    )

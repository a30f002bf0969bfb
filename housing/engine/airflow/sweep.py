"""Removes the copies in which runs worked: at a run's end, or where it left one behind."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowRuntimeError

from housing.engine.airflow.compat import (
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)
from housing.engine.airflow.run_place import COPY, PARTIAL
from housing.engine.airflow.task_states import states_of
from housing.engine.airflow.workspace import Workspace, changing, noted, remove_copy

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

_log = logging.getLogger(__name__)

_ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}


@contextmanager
def removed_by_the_last(
    task: BaseOperator, ti: RuntimeTaskInstanceProtocol, place: Workspace
) -> Iterator[None]:
    """Removes the copy of a run when the last of its tasks ends, if that is the task of a stage.

    Where tasks of the DAG's author come after the stages, or two tasks end in the same moment, the
    copy stays: the next run over the repository sweeps it. A task that is cleared later makes it
    anew.

    Args:
        task: The task of a stage.
        ti: The same, while it runs.
        place: Where the run works.
    """
    try:
        yield
    except (AirflowSkipException, DownstreamTasksSkipped) as end:
        planned = end.tasks if isinstance(end, DownstreamTasksSkipped) else ()
        _remove_if_last(task, ti, place, [str(name) for name in planned])
        raise
    except Exception as error:
        if isinstance(error, AirflowFailException) or ti.try_number > ti.max_tries:
            after = task.get_flat_relatives(upstream=False)
            # What comes after the stages may act on a failure.
            _remove_if_last(
                task, ti, place, [one.task_id for one in after if isinstance(one, type(task))]
            )
        raise
    else:
        _remove_if_last(task, ti, place)


def _remove_if_last(
    task: BaseOperator,
    ti: RuntimeTaskInstanceProtocol,
    place: Workspace,
    never: Collection[str] = (),
) -> None:
    """Removes the copy where each other task has ended, or is one of those that never run."""
    if place.isolated or not place.place.exists() or task.downstream_task_ids - {*never}:
        return  # other hosts have copies, too: a later run on each of them sweeps
    over = {ti.task_id, *never}
    try:
        if all(name in over or state in _ENDED for name, state in states_of(ti).items()):
            place.remove()
    except (AirflowRuntimeError, OSError) as error:  # what the stage did counts, and is done
        _log.warning("the run's copy stays until the next run: %s", error)


def sweep_copies(place: Workspace, ti: RuntimeTaskInstanceProtocol) -> None:
    """Removes what runs left behind, before a task works: see `sweep`.

    Only where a copy is about to be made, or where there is one: asking Airflow takes time.

    Args:
        place: Where the task is to work.
        ti: The running task.
    """
    copies = place.places.glob(f"*/{COPY}")
    if not place.root.exists() if place.is_copy else any(copies):
        for name in sweep(place.places, ti):
            _log.info("removed the workspace %s of a run that is over", name)


def sweep(places: Path, ti: RuntimeTaskInstanceProtocol) -> list[str]:
    """Removes the copies of runs that are over, and everything of runs that Airflow forgot.

    Such are left by a run that was killed or deleted, and by one whose last task is no stage's. A
    copy in which a task works is left alone, whatever Airflow says; and one that is needed again is
    made again.

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

"""Ends the tasks of unchanged stages together with the first of them.

In a run that finds nothing to do, a task for each stage is a chain of processes that Airflow starts
one after the other, each for a look of milliseconds. So the first task looks at the stages after it
as well. Those that are unchanged end as skipped at once, with the XComs that their own tasks would
leave, and no process starts for them.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import TriggerRule
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.xcom import XCom

from housing.engine import graph
from housing.engine.airflow.compat import has_listeners
from housing.engine.airflow.links import STAGE_LINK, stage_address
from housing.engine.airflow.task_states import states_of
from housing.engine.execution.sharing import Sharing
from housing.engine.stage_notes import last_links

if TYPE_CHECKING:
    from housing.engine.airflow.operator import DvcStageOperator
    from housing.engine.airflow.run_options import RunOptions
    from housing.engine.execution.stage_result import StageResult
    from housing.engine.graph import Graph
    from housing.engine.graph.selection import Upstream

_log = logging.getLogger(__name__)

_MARK: Final = "ended_by"
"""XCom key, at the first task that was ended, of the task that ended it and of its record."""
_ENOUGH: Final = 5.0
"""Seconds after which the next look is left to the stage's own task, which looks ahead in turn."""


def end_unchanged_after(
    task: DvcStageOperator,
    ti: Any,  # noqa: ANN401  # Airflow's
    options: RunOptions,
    record: StageResult,
) -> list[str]:
    """Looks at the stages after one that is unchanged, and leaves the XComs of those that are, too.

    A stage is looked at where every task before it has ended or ends with this one, so that nothing
    in this run can still change what it reads. What is found holds as if its own task had come now.

    Args:
        task: The task of the unchanged stage.
        ti: The same, while it runs.
        options: The options of the run.
        record: The record of the unchanged stage.

    Returns:
        Ids of the tasks to end as skipped.
    """
    stages = graph.load(Path(task.root))
    if not _only_looks(task, options, stages.upstream) or ti.map_index >= 0:
        return []
    every = _of_repository(task)
    after = _after(task, every, options, stages)
    if not after or has_listeners():  # they are told of each task that runs, as lineage is
        return []
    states = states_of(ti)
    # Where a person cleared this task alone, those after it have ended.
    after = [one for one in after if states.get(one.task_id) == ""]
    over = {name for name, state in states.items() if state in ("success", "skipped")}
    over.add(ti.task_id)
    tasks = {one.stage: one.task_id for one in every}
    looks = _Looks(Path(task.root))
    ended: list[str] = []
    for one in after:
        before = {tasks[name] for name in stages[one.stage].upstream if name in tasks}
        found = looks.at(one.stage) if before | one.upstream_task_ids <= over else None
        if found:
            _leave(one, ti, found)
            ended.append(one.task_id)
            over.add(one.task_id)
    if ended:
        mark = {"task": ti.task_id, "max_tries": ti.max_tries, "record": record.to_dict()}
        _set(ti, ended[0], _MARK, mark)
    return ended


def told_before(task: DvcStageOperator, ti: Any) -> dict[str, Any] | None:  # noqa: ANN401  # Airflow's
    """The record of a stage whose last try found it unchanged, ended others, and then was killed.

    What that try found holds: were the stage run now, none of those it ended would see the result.

    Args:
        task: The task.
        ti: The same, while it runs.

    Returns:
        The record; None at the first try, and where a person cleared the task.
    """
    if ti.try_number == 1:
        return None
    states = states_of(ti)
    for one in task.get_flat_relatives(upstream=False):
        if states.get(one.task_id) == "skipped" and type(one) is type(task):
            mark = ti.xcom_pull(task_ids=one.task_id, key=_MARK, map_indexes=-1) or {}
            # Whoever clears a task raises its number of tries.
            if (mark.get("task"), mark.get("max_tries")) == (ti.task_id, ti.max_tries):
                record: dict[str, Any] = mark["record"]
                return record
    return None


def stage_links(task: DvcStageOperator, workspace: Path) -> dict[str, str]:
    """The links of a stage's task: to ``dvc.yaml``, and what its script noted when it last ran.

    Args:
        task: The task.
        workspace: Where the stage worked.
    """
    address = stage_address(Path(task.root), task.file)
    return {STAGE_LINK: address, **last_links(workspace, task.stage)}


def _only_looks(task: DvcStageOperator, options: RunOptions, upstream: Upstream) -> bool:
    """Whether a task does nothing but look, and end as skipped, where its stage is unchanged."""
    return (
        task.on_unchanged == "skip"
        and not (task.depends_on_past or task._pre_execute_hook or task._post_execute_hook)
        and task.sharing == Sharing()
        and task.trigger_rule == TriggerRule.NONE_FAILED
        and not (task.on_execute_callback or task.on_skipped_callback)
        and not options.overrides
        and options.takes(task.stage, upstream)
        and not options.forces(task.stage, upstream)
    )


def _after(
    task: DvcStageOperator, every: list[DvcStageOperator], options: RunOptions, stages: Graph
) -> list[DvcStageOperator]:
    """Those of `every` after this task that only look where nothing changed, in DVC's order."""
    later = task.get_flat_relative_ids(upstream=False)
    tasks = {
        one.stage: one
        for one in every
        if one.task_id in later
        and type(one) is type(task)
        and one.options_group == task.options_group
        and _only_looks(one, options, stages.upstream)
    }
    return [tasks[name] for name in stages.names if name in tasks]


def _of_repository(task: DvcStageOperator) -> list[DvcStageOperator]:
    """The tasks of all stages of the repository in this DAG."""
    from housing.engine.airflow.operator import DvcStageOperator  # which imports this module

    every = (one for one in task.dag.tasks if isinstance(one, DvcStageOperator))
    return [one for one in every if one.root == task.root]


class _Looks:
    """Looks at one stage after the other.

    DVC is asked until a stage is not unchanged: from then on the rest is left to tasks of their
    own, which look side by side, and only what DVC found earlier counts here.

    Args:
        root: DVC's root folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._asks_dvc = True
        self._until = time.monotonic() + _ENOUGH

    def at(self, stage: str) -> StageResult | None:
        """The record of an unchanged stage; None where its own task has to look."""
        from housing.engine.execution.stage_run import StageRun  # DVC is too heavy for a DAG file

        if time.monotonic() > self._until:
            return None
        try:
            record = StageRun(self._root, stage).look(ask_dvc=self._asks_dvc)
        # Its own task meets the same fault, and tells it; this one has done what it is for.
        except (Exception, AirflowTaskTimeout) as error:  # noqa: BLE001
            _log.debug("stage %s is left to its own task: %s", stage, error)
            record = None
        if record is None:
            self._asks_dvc = False
        return record


def _leave(task: DvcStageOperator, ti: Any, record: StageResult) -> None:  # noqa: ANN401  # Airflow's
    """Leaves what the task of an unchanged stage leaves: its record, in log and XCom, and links."""
    for line in record.render().splitlines():
        _log.info("%s", line)
    task.show(stage_links(task, Path(task.root)))
    _set(ti, task.task_id, BaseXCom.XCOM_RETURN_KEY, record.to_dict())
    for link in task.operator_extra_links:
        # As Airflow does it: past the XCom backend, for the UI reads links without one.
        XCom._set_xcom_in_db(
            key=link.xcom_key,
            value=task.links[link.name],
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=task.task_id,
        )


def _set(ti: Any, task_id: str, key: str, value: object) -> None:  # noqa: ANN401  # Airflow's
    """Sets the XCom of another task of the run."""
    XCom.set(key=key, value=value, dag_id=ti.dag_id, run_id=ti.run_id, task_id=task_id)

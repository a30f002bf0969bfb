"""The task of a stage in a run that only plans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.bases.xcom import BaseXCom

from housing.engine import graph
from housing.engine.airflow.compat import DownstreamTasksSkipped
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.fast_skip import skipped
from housing.engine.airflow.run_options import RunOptions
from housing.engine.airflow.task_ids import beside

if TYPE_CHECKING:
    from airflow.sdk import Context

    from housing.engine.airflow.operator import DvcStageOperator
    from housing.engine.execution.stage_plan import StagePlan


def end_as_plan(
    context: Context,
    task: DvcStageOperator,
    options: RunOptions,
) -> NoReturn:
    """Leaves what the stage would do in log and XCom, and skips all that comes after the stages.

    The XCom is that of `housing.engine.execution.stage_plan.StagePlan`; a stage that the run
    leaves out has none.

    Args:
        context: The task's context.
        task: The task.
        options: The options of the run.

    Raises:
        DownstreamTasksSkipped: Always, but for errors: Airflow skips those tasks whatever their
            trigger rules are, and this one ends as a success.
        AirflowFailException: ``dvc.yaml``, the params or the form are wrong: no retry helps.
    """
    task.outlets = []  # nothing is made that others wait for
    with explained(context):
        plan = _plan(context["ti"], task, options)
    lines = plan.lines() if plan else [f"left out: the run takes {options.scope} {options.stage}"]
    for line in lines:
        task.log.info("%s", line)
    if plan:
        context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=plan.to_dict())
    after = task.get_flat_relatives(upstream=False)
    others = sorted(one.task_id for one in after if not isinstance(one, type(task)))
    raise DownstreamTasksSkipped(tasks=others)  # type: ignore[no-untyped-call]  # Airflow's


def skip_after_plan(params: Mapping[str, Any]) -> None:
    """Ends a task after the stages where the run only plans: one that somebody cleared.

    Args:
        params: The params of the run.

    Raises:
        AirflowSkipException: It does.
    """
    if RunOptions.of(params).plan:
        raise skipped("a plan: nothing ran")


def _plan(
    ti: Any,  # noqa: ANN401  # Airflow's
    task: DvcStageOperator,
    options: RunOptions,
) -> StagePlan | None:
    """The plan of the stage by what the tasks before it planned; None where the run leaves it out.

    A stage upstream whose task planned nothing is not part of the run: it stays as it is.
    """
    from housing.engine.execution import plan  # DVC is too heavy for a DAG file
    from housing.engine.execution.stage_plan import StagePlan

    root = Path(task.root)
    upstream = graph.load(root).upstream
    force = options.forces(task.stage, upstream)
    if not options.takes(task.stage, upstream):
        return None
    told = {
        name: ti.xcom_pull(task_ids=beside(ti.task_id, task.stage, name))
        for name in upstream.get(task.stage, ())
    }
    planned = {name: StagePlan.from_dict(content) for name, content in told.items() if content}
    with task.place_of(ti, options).entered() as place:
        if options.overrides and task.stage not in graph.load(place).names:
            return None
        return plan.of_stage(
            place, task.stage, planned, force=force, pull=task.sharing.pull, notes=root
        )

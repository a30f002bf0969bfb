"""The tasks that end every run: the alert, and the summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context, TriggerRule
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowFailException

from housing.dashboard.runs import add_quiet_run, remove_oldest
from housing.engine.airflow import results
from housing.engine.airflow.error_handling import ERROR_KEY, explained
from housing.engine.airflow.fast_skip import skipped
from housing.engine.airflow.plan_task import skip_after_plan
from housing.engine.airflow.run_options import RunOptions
from housing.engine.airflow.sweep import sweep
from housing.engine.airflow.task_states import states_of
from housing.engine.files import write_whole
from housing.orchestration import alerts, xcom_keys
from housing.orchestration.addresses import run_page
from housing.orchestration.house_workspace import workspace_of
from housing.settings import RUNS, load_settings

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from housing.orchestration.run_summary import Summary


class FailureAlertOperator(BaseOperator):
    """Tells people why tasks of the run failed, or why the gate rejected its result.

    Skips itself where there is nothing to tell. It waits for all tasks before it, however they
    end, so that one alert names every failure.

    Args:
        validate: Task id of the gate.
    """

    ui_color = "#f8d7d4"

    def __init__(self, *, validate: str, **kwargs: Any) -> None:  # noqa: ANN401  # BaseOperator's own
        kwargs.setdefault("trigger_rule", TriggerRule.ALL_DONE)
        super().__init__(**kwargs)
        self.validate = validate

    def execute(self, context: Context) -> dict[str, str]:
        """Sends the alert.

        Returns:
            Message of each failed task, by task id.

        Raises:
            AirflowSkipException: No task failed, and the gate rejected nothing, or just what people
                know of an earlier run; or the run only planned.
        """
        skip_after_plan(context["params"])
        ti = context["ti"]
        failures = _failures(ti, states_of(ti), self.validate)
        verdict = _pull(ti, self.validate, xcom_keys.VERDICT) or {"checks": []}
        reasons = [check["sentence"] for check in verdict["checks"] if not check["passed"]]
        if _pull(ti, self.validate, xcom_keys.TOLD_BY):
            reasons = []
        if not failures and not reasons:
            raise skipped("nothing to tell")
        alerts.send(alerts.Alert(ti.dag_id, ti.run_id, failures, tuple(reasons), ti.log_url))
        return failures


class SummarizingOperator(BaseOperator):
    """Base of the tasks that write what the run did so far.

    Args:
        root: The project's folder.
        stages: Name of each stage by its task id.
        validate: Task id of the gate.
        promote: Task id of the promotion.
    """

    def __init__(
        self,
        *,
        root: str,
        stages: Mapping[str, str],
        validate: str,
        promote: str,
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.stages = stages
        self.validate = validate
        self.promote = promote

    def summarize(
        self, context: Context, folder: Path | None, states: Mapping[str, str]
    ) -> Summary:
        """Sums the run up, and writes it below a folder, where one is given.

        Args:
            context: The task's context.
            folder: The project's folder.
            states: See `states_of`.
        """
        from housing.orchestration.run_summary import (  # 4 ms of each parse of a DAG file
            StageLine,
            Summary,
        )
        from housing.orchestration.task_logs import own_words

        ti = context["ti"]
        failures = _failures(ti, states, self.validate)
        overrides = RunOptions.of(context["params"]).overrides
        summary = Summary(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            stages=tuple(
                StageLine.of(stage, states[task_id], _pull(ti, task_id, BaseXCom.XCOM_RETURN_KEY))
                for task_id, stage in self.stages.items()
            ),
            failures=failures,
            verdict=_pull(ti, self.validate, xcom_keys.VERDICT),
            promotion=_pull(ti, self.promote, BaseXCom.XCOM_RETURN_KEY),
            overrides=overrides,
            # After a failure the report in the workspace may be that of an older run.
            data=() if failures else self._account(context, overrides),
            link=run_page(ti),
            words={task: own_words(ti.dag_id, ti.run_id, task) for task in failures},
        )
        if folder:
            path = folder / RUNS / f"{summary.run_id}.json"
            write_whole(path, json.dumps(summary.to_dict(), indent=2) + "\n")
        return summary

    def _account(self, context: Context, overrides: Sequence[str]) -> tuple[str, ...]:
        """What became of the deliveries."""
        from housing.domain.data.account import REPORT, read_account

        workspace = workspace_of(self.root, context["ti"], overrides)
        if not workspace.isolated:
            return read_account(workspace.root)
        with explained(context), workspace.entered() as root:
            results.lay_out(context, workspace, [str(REPORT)])
            return read_account(root)


class SummaryOperator(SummarizingOperator):
    """Writes what the run did, removes its workspace, and fails the run where a task failed.

    The last task of the DAG, and the only one without a task after it: its state is the run's.
    Where workspaces are isolated, the project's folder is not its to write in: the summary is in
    its XCom, and in MLflow, where the dashboard's task put it.

    Args:
        dashboard: Task id of what makes the page anew. Where the gate skipped it, because nothing
            happened, this task puts the run onto the page that is there.
    """

    ui_color = "#e4e4f4"

    def __init__(self, *, dashboard: str = "", **kwargs: Any) -> None:  # noqa: ANN401  # the base's arguments
        kwargs.setdefault("trigger_rule", TriggerRule.ALL_DONE)
        super().__init__(**kwargs)
        self.dashboard = dashboard

    def execute(self, context: Context) -> dict[str, Any]:
        """Sums the run up.

        Returns:
            The summary, see `housing.orchestration.run_summary.Summary`.

        Raises:
            AirflowFailException: A task of the run failed.
            AirflowSkipException: The run only planned.
        """
        if RunOptions.of(context["params"]).plan:
            _require_planned(context["ti"], self.validate)
        skip_after_plan(context["params"])
        shared = load_settings().workspace_kind == "shared"
        states = states_of(context["ti"])
        summary = self.summarize(context, Path(self.root) if shared else None, states)
        for line in summary.lines():
            self.log.info("%s", line)
        workspace = workspace_of(self.root, context["ti"], summary.overrides)
        workspace.remove()
        for place in sweep(workspace.places, context["ti"]):
            self.log.info("removed the workspace %s of a run that is over", place)
        if shared:
            remove_oldest(Path(self.root))
        if summary.failures:
            raise AirflowFailException(f"failed: {', '.join(summary.failures)}")
        if states.get(self.dashboard) == "skipped":
            self._put_on_page(summary)
        return summary.to_dict()

    def _put_on_page(self, summary: Summary) -> None:
        if add_quiet_run(Path(self.root), summary.to_dict()):
            self.log.info("the run found nothing to do: only its line on the dashboard is new")
        else:
            self.log.warning("the dashboard does not show this run yet; next: housing dashboard")


def _require_planned(ti: RuntimeTaskInstanceProtocol, validate: str) -> None:
    """Fails the run where a stage could not be planned."""
    failed = _failures(ti, states_of(ti), validate)
    if failed:
        raise AirflowFailException(f"failed: {', '.join(failed)}")


def _failures(
    ti: RuntimeTaskInstanceProtocol, states: Mapping[str, str], validate: str
) -> dict[str, str]:
    """Message of each task that failed by itself; a rejection by the gate is no failure."""
    failed = [task_id for task_id, state in states.items() if state == "failed"]
    messages = {task_id: _pull(ti, task_id, ERROR_KEY) for task_id in failed}
    if validate in messages and not messages[validate]:
        verdict = _pull(ti, validate, xcom_keys.VERDICT)
        if verdict and not verdict["passed"]:
            del messages[validate]
    otherwise = "ended without a message, see its log"
    return {task_id: message or otherwise for task_id, message in messages.items()}


def _pull(ti: RuntimeTaskInstanceProtocol, task_id: str, key: str) -> Any:  # noqa: ANN401  # any XCom
    return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=-1)

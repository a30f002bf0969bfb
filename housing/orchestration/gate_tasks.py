"""The tasks of the gate: judge the result, then promote it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseBranchOperator, BaseOperator, Context, Param, TriggerRule
from airflow.sdk.exceptions import AirflowFailException

from housing.dashboard.runs import takes_quiet_run
from housing.domain.config import Params, load_params
from housing.domain.overrides import FIXED, never_promoted
from housing.engine import graph
from housing.engine.airflow import results
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.fast_skip import skipped
from housing.engine.airflow.links import Linked, TaskLink
from housing.engine.airflow.plan_task import skip_after_plan
from housing.engine.airflow.run_options import RunOptions
from housing.engine.airflow.task_states import states_of
from housing.orchestration import xcom_keys
from housing.orchestration.house_workspace import workspace_of
from housing.settings import RUN_LINK, Settings, load_settings

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from housing.domain.verdict import Verdict


PROMOTE_OVERRIDES = "promote_overrides"
"""Name of the DAG's param that lets the gate promote what a run with overrides made."""


def gate_form() -> dict[str, Param]:
    """What the trigger form asks for the gate."""
    return {
        PROMOTE_OVERRIDES: Param(
            False,
            title="Promote a model with overrides",
            description="Lets the gate promote what this run made, although it has overrides: to "
            "staging only, and not where they change the data, the split, or how it is evaluated. "
            "gate and registry cannot be overridden.",
            type="boolean",
        )
    }


class ValidateModelOperator(Linked, BaseBranchOperator):
    """Judges the result of the stages, and sends the run to the promotion or to the alert.

    It fails where the gate rejects the result, so that people see it in Airflow's grid. The run
    itself succeeds: each task did its work. It skips itself where the alias already serves this
    very result, and where the run left out the last stages, so that there is no new result.

    Args:
        root: The project's folder.
        promote: Task id to go on with where the gate passes.
        alert: Task id to go on with where the gate passes, but the run may not promote.
        telling: Task ids of what tells people of the result: skipped, too, where it is not new.
        dashboard: Task id of what makes the page anew: skipped, too, where no stage ran either, and
            the `SummaryOperator` can put the run onto the page that is there.
    """

    operator_extra_links = (TaskLink(RUN_LINK),)
    ui_color = "#fdf0c8"

    def __init__(
        self,
        *,
        root: str,
        promote: str,
        alert: str,
        telling: Collection[str] = (),
        dashboard: str = "",
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        kwargs.setdefault("trigger_rule", TriggerRule.NONE_FAILED)  # an unchanged stage is skipped
        super().__init__(**kwargs)
        self.root = root
        self.promote = promote
        self.alert = alert
        self.telling = tuple(telling)
        self.dashboard = dashboard

    def choose_branch(self, context: Context) -> str:
        """The task to go on with.

        Raises:
            AirflowSkipException: There is nothing new to judge.
            AirflowFailException: The gate rejects the result, or the params or the form are wrong:
                no retry helps.
            TrackingError: MLflow does not answer, or does not know the result.
        """
        from housing.domain.verdict import render  # 4 ms of each parse of a DAG file

        options = RunOptions.of(context["params"])
        skip_after_plan(context["params"])
        with explained(context):
            verdict = self._judge(options, context)
        context["ti"].xcom_push(key=xcom_keys.VERDICT, value=verdict.to_dict())
        for line in render(verdict).splitlines():
            self.log.info("%s", line)
        if verdict.unchanged:
            needless = [*self.telling, *self._needless_dashboard(context["ti"])]
            raise skipped(f"result {verdict.result} is promoted already", needless)
        if not verdict.passed:
            with explained(context):
                self._note_teller(context, verdict)
            raise AirflowFailException(f"the gate rejected it: {'; '.join(verdict.reasons)}")
        promoted = bool(context["params"].get(PROMOTE_OVERRIDES))
        if kept_back := _kept_back(options.overrides, promoted=promoted):
            self.log.info("not promoted: %s", kept_back)
            return self.alert
        return self.promote

    def _needless_dashboard(self, ti: RuntimeTaskInstanceProtocol) -> list[str]:
        """The task of the dashboard, where the page needs just a line for this run."""
        if not self.dashboard or not takes_quiet_run(Path(self.root), ti.run_id):
            return []
        happened = {"success", "failed", "upstream_failed"}.intersection(states_of(ti).values())
        return [] if happened else [self.dashboard]

    def _note_teller(self, context: Context, verdict: Verdict) -> None:
        """Leaves to the alert and the messages whether people know of this rejection already.

        Whoever starts a run by hand asks, and is told again.
        """
        from housing.mlops import registry  # it needs mlflow, which is too heavy for a DAG file

        ti = context["ti"]
        run = f"{ti.dag_id} {ti.run_id}"
        teller = registry.told_before(load_settings(Path(self.root)), verdict, run)
        if teller and context["dag_run"].run_type != "manual":
            self.log.info("people know of this rejection since %s: no alert", teller)
            ti.xcom_push(key=xcom_keys.TOLD_BY, value=teller)

    def _judge(self, options: RunOptions, context: Context) -> Verdict:
        from housing.mlops import registry  # it may need mlflow, which is too heavy for a DAG file

        upstream = graph.load(Path(self.root)).upstream
        if not options.reaches_gate(upstream):
            raise skipped(f"no result: {options.scope} {options.stage}")
        with _result(self.root, context, options) as (settings, bring):
            verdict = registry.validate(settings, _judging(Path(self.root), settings), bring)
            self.show({RUN_LINK: settings.run_address(verdict.run_id)})
        return verdict


class PromoteOperator(Linked, BaseOperator):
    """Registers the judged model and moves the alias to it; doing it twice is doing it once.

    Args:
        root: The project's folder.
        validate: Task id of the `ValidateModelOperator`.
    """

    operator_extra_links = (TaskLink(RUN_LINK),)
    ui_color = "#d9f2d0"

    def __init__(
        self,
        *,
        root: str,
        validate: str,
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.validate = validate

    def execute(self, context: Context) -> dict[str, Any]:
        """Promotes the model.

        Returns:
            The promotion: version, alias, and the version that the alias had before.

        Raises:
            AirflowFailException: The params are wrong: no retry helps.
            TrackingError: MLflow does not answer, or cannot do it.
        """
        from housing.domain.verdict import Verdict
        from housing.mlops import registry  # polars and mlflow are too heavy for a DAG file

        ti, options = context["ti"], RunOptions.of(context["params"])
        with (
            explained(context),
            _result(self.root, context, options) as (settings, _),
        ):
            content = ti.xcom_pull(task_ids=self.validate, key=xcom_keys.VERDICT, map_indexes=-1)
            verdict = Verdict.from_dict(content)
            self.show({RUN_LINK: settings.run_address(verdict.run_id)})
            promotion = registry.promote(settings, _judging(Path(self.root), settings), verdict)
        self.log.info("version %s is now %s", promotion.version, promotion.alias)
        if not promotion.moved:
            self.outlets = []  # Airflow emits an event for each outlet: nothing changed
        return promotion.model_dump(mode="json")


@contextmanager
def _result(
    root: str, context: Context, options: RunOptions
) -> Iterator[tuple[Settings, Callable[[], object]]]:
    """Enters the workspace of a run, with the report that says which result stands there.

    Args:
        root: The project's folder.
        context: The task's context.
        options: Of the run.

    Yields:
        The settings of the workspace, and what brings the rest of the result there: a result that
        MLflow knows needs none of it, and other workers may have made it.
    """
    from housing.mlops.tracking.result import REPORT

    workspace = workspace_of(root, context["ti"], options.overrides)
    with workspace.entered():
        results.lay_out(context, workspace, [REPORT])
        # The environment tells the settings of a copy.
        settings = load_settings() if workspace.is_copy else load_settings(Path(root))
        yield settings, partial(results.lay_out, context, workspace)


def _judging(project: Path, settings: Settings) -> Params:
    """The params of the run, with the limits and names of the project itself."""
    params, own = (load_params(root / "params.yaml") for root in (settings.root, project))
    return params.model_copy(update={name: getattr(own, name) for name in FIXED})


def _kept_back(overrides: Sequence[str], *, promoted: bool) -> str:
    """Why a result that passed is not promoted, or "" where it is."""
    if not overrides:
        return ""
    if not promoted:
        return f"made with overrides, and {PROMOTE_OVERRIDES} is off"
    return never_promoted(overrides)

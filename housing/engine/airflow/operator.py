"""The task of one DVC stage."""

from __future__ import annotations

import gc
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import Asset, BaseOperator, Context, TriggerRule
from airflow.sdk.bases.xcom import BaseXCom

from housing.engine import graph
from housing.engine.airflow import other_workers
from housing.engine.airflow.assets import path_of
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.fast_skip import skipped
from housing.engine.airflow.links import STAGE_LINK, Linked, TaskLink
from housing.engine.airflow.look_ahead import end_unchanged_after, stage_links, told_before
from housing.engine.airflow.plan_task import end_as_plan
from housing.engine.airflow.remote_connection import login_of
from housing.engine.airflow.run_options import RunOptions
from housing.engine.airflow.sweep import removed_by_the_last, sweep_copies
from housing.engine.airflow.workspace import ApplyOverrides, Workspace, WorkspaceKind
from housing.engine.execution.sharing import Sharing

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage

    from housing.engine.execution.stage_result import DepResult, OutResult, StageResult
    from housing.engine.execution.stage_run import StageRun


class DvcStageOperator(Linked, BaseOperator):
    """Runs ``dvc repro`` for exactly one stage, and shows what DVC's cache did.

    DVC works inside the task's process, which holds it in memory already: a shell would start and
    import it once more for each stage. The stage's own command still is a child process in a
    group of its own, so its crash ends the task only, and a kill of the task ends the command.

    A stage that DVC finds unchanged ends as ``skipped``, together with the unchanged stages after
    it (`housing.engine.airflow.look_ahead`); one that ran, or was restored from the cache, as
    ``success`` with an asset event for each out whose content changed. Either way the
    XCom is the record of the stage, see `housing.engine.execution.stage_result.StageResult`.

    Args:
        stage: Name of the stage, as DVC addresses it.
        root: DVC's root folder.
        file: The ``dvc.yaml`` of the stage, relative to the root.
        on_unchanged: ``skip``, or ``succeed`` for tasks after it that ask for a success, as those
            with Airflow's default trigger rule do.
        pull: An unchanged stage downloads nothing, also where its deps and outs are missing. Deps
            of one that runs come from DVC's default remote where the workspace lacks them, and so
            does the result of an earlier run with the same deps.
        push: What the stage made goes to that remote before the task ends.
        remote_conn_id: Airflow connection with the login of that remote; without one, each worker
            has the credentials itself.
        workspace: ``shared``, all workers use the folder ``root``; or ``isolated``, each worker
            makes a copy for the run, and what the stages make travels by DVC's remote (with
            ``pull`` and ``push``) and by the XComs of their tasks.
        apply_overrides: Checks and replaces the parameters of a run with overrides, in place of
            what ``dvc exp run --set-param`` does.
        env: Variables that the stage's command gets in addition; see `StageSettings`.
        extra_links: Names of the links that the scripts of stages note by
            `housing.engine.note_links`, beside the one to ``dvc.yaml``: each is a button in the UI,
            where the stage noted it.
        options_group: The group whose options of a run count, see
            `housing.engine.airflow.run_options.names_of`.
    """

    ui_color = "#d7f0ec"

    def __init__(  # noqa: PLR0913 - each is an argument that a DAG file may set, by its name
        self,
        *,
        stage: str,
        root: str,
        file: str = "dvc.yaml",
        on_unchanged: Literal["skip", "succeed"] = "skip",
        pull: bool = False,
        push: bool = False,
        remote_conn_id: str = "",
        workspace: WorkspaceKind = "shared",
        apply_overrides: ApplyOverrides | None = None,
        env: Mapping[str, str] | None = None,
        extra_links: Collection[str] = (),
        options_group: str = "",
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        kwargs.setdefault("trigger_rule", TriggerRule.NONE_FAILED)  # an unchanged stage is skipped
        super().__init__(**kwargs)
        self.stage = stage
        self.root = root
        self.file = file
        self.on_unchanged = on_unchanged
        isolated = workspace == "isolated"
        self.sharing = Sharing(pull=pull or isolated, push=push or isolated, isolated=isolated)
        self.remote_conn_id = remote_conn_id
        self.env = dict(env or {})
        self.options_group = options_group
        self._apply = apply_overrides
        self.operator_extra_links = tuple(map(TaskLink, (STAGE_LINK, *extra_links)))
        self._running: StageRun | None = None
        self._data: tuple[tuple[DepResult, ...], tuple[OutResult, ...]] | None = None
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Reproduces the stage.

        Returns:
            The record of the stage, as a dict.

        Raises:
            AirflowSkipException: DVC found the stage unchanged, or the run leaves it out.
            AirflowFailException: ``dvc.yaml``, the params or the form are wrong: no retry helps.
            StageFailedError: The stage's command failed.
            StageBusyError: Somebody else holds DVC's lock.
            RemoteError: DVC's remote storage did not answer, or lets this worker do nothing.
            EngineError: A task upstream worked in another workspace than this one.
            DownstreamTasksSkipped: The run only plans, and what comes after the stages is skipped.
        """
        options = RunOptions.of(context["params"], self.options_group)
        place = self.place_of(context["ti"], options)
        sweep_copies(place, context["ti"])
        with removed_by_the_last(self, context["ti"], place):
            if options.plan:
                end_as_plan(context, self, options)
            return self._execute(context, options)

    def _execute(self, context: Context, options: RunOptions) -> dict[str, Any]:
        told = told_before(self, context["ti"])
        if told:
            self.show(stage_links(self, Path(self.root)))
            context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=told)
            raise skipped(f"{self.stage}: unchanged, as its last try found before it was killed")
        with explained(context):
            record = self._reproduce(options, context["ti"])
        for line in record.render().splitlines():
            self.log.info("%s", line)
        if record.state == "unchanged" and self.on_unchanged == "skip":
            # A skipped task returns nothing, so its record goes out first.
            context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=record.to_dict())
            others = end_unchanged_after(self, context["ti"], options, record)
            raise skipped(f"{self.stage}: unchanged", [] if self._killed else others)
        self._emit(context, record)
        return record.to_dict()

    def _reproduce(self, options: RunOptions, ti: Any) -> StageResult:  # noqa: ANN401  # Airflow's
        from housing.engine.execution.stage_run import StageRun  # DVC is too heavy for a DAG file

        # The garbage collector would search all that Airflow has loaded, for 0.2 s in every other
        # task; nothing of that becomes garbage before the task's process ends.
        gc.freeze()
        # DVC's lines reach the task's log as log records; its handlers print them once more.
        logging.getLogger("dvc").handlers.clear()

        root = Path(self.root)
        upstream = graph.load(root).upstream
        if not options.takes(self.stage, upstream):
            raise skipped(f"left out: the run takes {options.scope} {options.stage}")
        if options.overrides:
            self.outlets = []  # what this run makes is not the data that others wait for
        force = options.forces(self.stage, upstream)
        with self.place_of(ti, options).entered() as workspace:
            if options.overrides and self.stage not in graph.load(workspace).names:
                raise skipped(f"left out: the overrides leave no stage {self.stage}")
            sharing = self.sharing
            if sharing.pull or sharing.push:
                sharing = replace(sharing, login=login_of(self.remote_conn_id))
            if sharing.isolated:
                sharing = replace(sharing, entries=other_workers.entries(ti, root, self.stage))
            else:
                other_workers.compare(ti, workspace, self.stage, upstream.get(self.stage, ()))
            shown = f"--force {self.stage}" if force else self.stage
            self.log.info("dvc repro --single-item %s", shown)
            self._running = StageRun(
                workspace, self.stage, force=force, sharing=sharing, env=self.env
            )
            if self._killed:  # before there was a run to kill
                self._running.kill()
            record = self._running.reproduce()
            self._data = (self._running.deps, () if options.overrides else record.outs)
            self.show(stage_links(self, workspace))
            return record

    def place_of(self, ti: Any, options: RunOptions) -> Workspace:  # noqa: ANN401  # Airflow's
        """Where the stage works in this run."""
        isolated = self.sharing.isolated
        return Workspace.of(
            Path(self.root),
            (ti.dag_id, ti.run_id),
            options.overrides,
            self._apply,
            isolated=isolated,
            revision=other_workers.revision(ti) if isolated else "",
        )

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """What Airflow's provider for OpenLineage tells when the task starts: what it will read."""
        from housing.engine.airflow import lineage

        return lineage.before(Path(self.root), graph.load(Path(self.root))[self.stage])

    def get_openlineage_facets_on_complete(
        self,
        task_instance: object,  # noqa: ARG002  # the provider's signature
    ) -> OperatorLineage[Any, Any] | None:
        """What it tells at the end, also of an unchanged stage: deps and outs by their hashes.

        What a run with overrides makes is not the project's data, and is not told.
        """
        from housing.engine.airflow import lineage

        if self._data is None:
            return None  # the run leaves the stage out
        return lineage.after(Path(self.root), self.file, *self._data)

    def get_openlineage_facets_on_failure(self, task_instance: object) -> OperatorLineage[Any, Any]:  # noqa: ARG002  # the provider's signature
        """What it tells where the stage failed: what was to be read; nothing was made."""
        return self.get_openlineage_facets_on_start()

    def on_kill(self) -> None:
        """Ends the stage's command and all its children; Airflow calls it in a signal handler.

        A kill that comes before the run begins prevents the run.
        """
        self._killed = True
        if self._running:
            self._running.kill()

    def _emit(self, context: Context, record: StageResult) -> None:
        """Leaves only changed outs among the outlets: Airflow emits an event for each of them."""
        changed = {out.path: out for out in record.outs if out.changed}
        kept: list[Asset] = []
        for outlet in self.outlets:
            out = changed.get(path_of(outlet))
            if out:
                context["outlet_events"][outlet].extra = {"md5": out.md5, "size": out.size}
                kept.append(outlet)
        self.outlets = kept

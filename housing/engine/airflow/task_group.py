"""The stages of a DVC repository as Airflow tasks: `DvcTaskGroup` and `DvcDag`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param, TaskGroup, TriggerRule
from airflow.sdk.definitions.param import ParamsDict

from housing.engine import graph
from housing.engine.airflow import isolation, stage_settings
from housing.engine.airflow.assets import asset_of
from housing.engine.airflow.operator import DvcStageOperator
from housing.engine.airflow.run_options import form, names_of
from housing.engine.airflow.task_ids import group_id_of, task_id_of
from housing.engine.airflow.workspace import WorkspaceKind
from housing.engine.airflow.write_back import WriteBackOperator
from housing.engine.errors import OptionsError
from housing.engine.graph import Graph, StageNode
from housing.engine.graph.selection import chosen, last_to_end


class DvcTaskGroup(TaskGroup):
    """A group of tasks inside a DAG, one for each stage of a DVC repository.

    Edges are those of ``dvc dag``. The stages of a ``matrix`` or ``foreach`` are a group of their
    own inside it, and so are those of a ``dvc.yaml`` in a subfolder. The DAG's trigger form gets
    the options of a run: which stages, which are forced, which parameters are overridden.

    Args:
        group_id: Id of the group.
        root: DVC's root folder.
        name: First part of the names of the outs' assets; by default the root folder's name.
        select: The stages to take, all by default: a stage, a matrix or foreach as a whole, or a
            ``dvc.yaml``; ``+stage`` also takes all that it depends on, ``stage+`` all that depends
            on it.
        exclude: The stages to leave out, written alike.
        prefix_group_id: Begin each task's id, and each option of a run, with the group's id, as
            two repositories in one DAG need.
        pull: Deps that the workspace lacks come from DVC's remote, see `DvcStageOperator`: for a
            fresh clone, whose unchanged stages then download nothing.
        push: What each stage made goes there, see the same.
        workspace: ``shared``, all workers use the folder ``root``; or ``isolated``, each worker has
            a copy of it for each run, see the same.
        operator_args: Arguments of every `DvcStageOperator`, such as ``retries`` or ``pool``; what
            one stage needs stands in its ``meta.airflow`` and wins.
        **kwargs: What Airflow's ``TaskGroup`` takes.

    Attributes:
        graph: The stages of the repository, those left out too.
        stages: The tasks, by the names of their stages.

    Raises:
        GraphError: ``dvc.yaml``, a file it is made from, or a ``meta.airflow`` is wrong; or the
            stages cannot work in isolated workspaces.
        OptionsError: ``select`` or ``exclude`` names no stage; the DAG has a param of its own, or
            the stages of another repository, where the options of a run go.
    """

    def __init__(  # noqa: PLR0913 - each is an argument that a DAG file may set, by its name
        self,
        group_id: str,
        *,
        root: str | Path,
        name: str = "",
        select: Collection[str] = (),
        exclude: Collection[str] = (),
        prefix_group_id: bool = False,
        pull: bool = False,
        push: bool = False,
        workspace: WorkspaceKind = "shared",
        operator_args: Mapping[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401  # TaskGroup's own arguments
    ) -> None:
        # The ids of nested groups and tasks are made whole here: Airflow adds no prefix.
        super().__init__(group_id, prefix_group_id=False, **kwargs)
        self.graph = graph.load(Path(root))
        rendering = _Rendering(
            self.graph, Path(root), name, self, group_id if prefix_group_id else ""
        )
        self.stages = rendering.render(
            chosen(self.graph.upstream, select, exclude),
            {"pull": pull, "push": push, "workspace": workspace, **(operator_args or {})},
        )
        self._nested = rendering.nested

    def ended_before(self, task: BaseOperator) -> None:
        """Lets a task wait until every stage has ended, whatever became of each.

        ``group >> task`` waits for the last stages only, and those end at once where one stage
        fails, while stages beside it go on. An edge from every stage is a bundle of wires in the
        UI. So this makes one from the group, and from those stages beside others that need their
        own: one for a whole matrix or foreach.

        Args:
            task: The task; its ``trigger_rule`` is ``all_done``.
        """
        self.set_downstream(task)
        ends = self._last_to_end() - {node.node_id for node in self.get_leaves()}
        for group in self._nested:
            inside = {node.node_id for node in group.get_leaves()}
            if inside & ends and inside <= ends:
                group.set_downstream(task)
                ends -= inside
        task.set_upstream([one for one in self.stages.values() if one.task_id in ends])

    def _last_to_end(self) -> set[str]:
        """Ids of the tasks to wait for until all have ended."""
        if any(one.trigger_rule != TriggerRule.NONE_FAILED for one in self.stages.values()):
            return {one.task_id for one in self.stages.values()}  # some end before those upstream
        upstream = self.graph.upstream
        inside = {name: [up for up in upstream[name] if up in self.stages] for name in self.stages}
        return {self.stages[name].task_id for name in last_to_end(inside)}


class DvcDag(DAG):
    """A DAG whose tasks are the stages of a DVC repository.

    Args:
        dag_id: Id of the DAG.
        root: See `DvcTaskGroup`, as for the next ones.
        name: See there.
        select: See there.
        exclude: See there.
        pull: See there.
        push: See there.
        workspace: See there.
        write_back: Where workspaces are isolated, a last task commits ``dvc.lock`` to the branch
            that the DAG bundle follows, or to the branch of this name; see `WriteBackOperator`.
        operator_args: See there.
        **kwargs: What Airflow's ``DAG`` takes.

    Attributes:
        graph: The stages of the repository, those left out too.
        stages: The tasks, by the names of their stages.

    Raises:
        GraphError: See `DvcTaskGroup`.
        OptionsError: See `DvcTaskGroup`.
    """

    def __init__(  # noqa: PLR0913 - as above
        self,
        dag_id: str,
        *,
        root: str | Path,
        name: str = "",
        select: Collection[str] = (),
        exclude: Collection[str] = (),
        pull: bool = False,
        push: bool = False,
        workspace: WorkspaceKind = "shared",
        write_back: bool | str = True,
        operator_args: Mapping[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401  # DAG's own arguments
    ) -> None:
        super().__init__(dag_id, **kwargs)
        self.graph = graph.load(Path(root))
        self.stages = _Rendering(self.graph, Path(root), name, self.task_group, "").render(
            chosen(self.graph.upstream, select, exclude),
            {"pull": pull, "push": push, "workspace": workspace, **(operator_args or {})},
        )
        if workspace == "isolated" and write_back:
            self._write_back("" if write_back is True else write_back, Path(root).resolve())

    def _write_back(self, branch: str, root: Path) -> None:
        last = [task for task in self.stages.values() if not task.downstream_task_ids]
        writing = WriteBackOperator(
            task_id="write_back",
            root=str(root),
            stages={task.task_id: name for name, task in self.stages.items()},
            branch=branch,
            dag=self,
            doc_md="Commits the `dvc.lock` of a good run.",
        )
        writing.set_upstream(last)


class _Rendering:
    """Makes tasks and nested groups inside one group.

    Args:
        stages: The stages of the repository.
        root: DVC's root folder.
        name: First part of the names of the outs' assets, or "" for the root folder's name.
        group: The group.
        prefix: Id with which the ids of tasks and nested groups begin, or "".
    """

    def __init__(self, stages: Graph, root: Path, name: str, group: TaskGroup, prefix: str) -> None:
        self._graph = stages
        self._root = root.resolve()
        self._name = name or self._root.name
        self._groups = {"": group}
        self._dag = group.dag
        self._prefix = prefix

    @property
    def nested(self) -> list[TaskGroup]:
        """The groups that were made inside the group, each before those inside it."""
        return [group for name, group in self._groups.items() if name]

    def render(
        self, taken: Collection[str], common: Mapping[str, Any]
    ) -> dict[str, DvcStageOperator]:
        """Makes the tasks of these stages, with these arguments of all, and the run's options.

        Raises:
            GraphError: See `DvcTaskGroup`.
            OptionsError: See there.
        """
        before = [one for one in self._dag.tasks if isinstance(one, DvcStageOperator)]
        same = {one.stage for one in before if self._shares_options(one)}
        own = stage_settings.operator_args(self._graph.stages, common)
        if common.get("workspace") == "isolated":
            every = self._graph.stages
            isolation.require([node for node in every if node.name in taken], every, self._root)
        # Airflow copies a DAG's params into every task that is made after them: half of the time to
        # parse the file, and for nothing, as it adds them again when a task runs.
        params, self._dag.params = self._dag.params, ParamsDict()
        try:
            tasks = self._tasks(taken, common, own)
        finally:
            self._dag.params = params
        known = {name for one in before for name in names_of(one.options_group).values()}
        stages = [name for name in self._graph.names if name in tasks or name in same]
        self._complete(form(stages, self._prefix), known)
        return tasks

    def _tasks(
        self, taken: Collection[str], common: Mapping[str, Any], own: Mapping[str, dict[str, Any]]
    ) -> dict[str, DvcStageOperator]:
        """Makes the tasks of these stages with the edges between them, by the stages' names."""
        tasks: dict[str, DvcStageOperator] = {}
        for node in self._graph.stages:
            if node.name not in taken:
                continue
            arguments = {**common, **own.get(node.name, {})}
            tasks[node.name] = task = DvcStageOperator(
                task_id=self._prefixed(task_id_of(node.name)),
                task_display_name=node.name,
                dag=self._dag,
                task_group=self._group_of(node),
                stage=node.name,
                root=str(self._root),
                file=node.file,
                options_group=self._prefix,
                outlets=[asset_of(self._name, path) for path in node.outs],
                doc_md=_document(node),
                **arguments,
            )
            for before_it in [tasks[name] for name in node.upstream if name in tasks]:
                # As set_upstream does, without its hash of all of the DAG's tasks for each edge:
                # of 40,000 edges that would be most of the time to parse the file.
                before_it.downstream_task_ids.add(task.task_id)
                task.upstream_task_ids.add(before_it.task_id)
        return tasks

    def _prefixed(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name

    def _shares_options(self, task: DvcStageOperator) -> bool:
        """Whether a task of another group has the same options of a run as the tasks here.

        Raises:
            OptionsError: It has, and is of another repository.
        """
        if task.options_group != self._prefix:
            return False
        if task.root != str(self._root):
            raise OptionsError(
                f"the DAG {self._dag.dag_id} has the stages of {task.root} and of {self._root}, "
                "and one set of options for a run",
                "DvcTaskGroup(..., prefix_group_id=True) for all but one of the repositories",
            )
        return True

    def _complete(self, options: Mapping[str, Param], known: Collection[str]) -> None:
        """Adds the options of a run to the DAG's form, and what stages wait for to its page.

        At the end, see `render`: with 400 stages to choose from, copies would take most of all.
        """
        own = [name for name in options if name in self._dag.params and name not in known]
        if own:
            raise OptionsError(
                f"the DAG {self._dag.dag_id} has params of its own named {', '.join(own)}, which "
                "are the options of a run",
                "give them other names",
            )
        # As items they are whole; by their names they would be values, without title and type.
        self._dag.params = ParamsDict({**dict(self._dag.params.items()), **options})  # type: ignore[no-untyped-call]  # Airflow's
        if self._graph.waiting:
            self._dag.doc_md = f"**{self._graph.waiting}**\n\n{self._dag.doc_md or ''}"

    def _group_of(self, node: StageNode) -> TaskGroup:
        """The innermost group of a stage: of its subfolder, then of its matrix or foreach."""
        folder = str(PurePosixPath(node.file).parent)
        group = self._group("" if folder == "." else f"{folder}/", "")
        base, at, _ = node.name.partition("@")
        return self._group(base, "" if folder == "." else f"{folder}/") if at else group

    def _group(self, name: str, parent: str) -> TaskGroup:
        if name not in self._groups:
            self._groups[name] = TaskGroup(
                group_id_of(self._prefixed(name)),
                group_display_name=name.rpartition(":")[2],
                prefix_group_id=False,
                parent_group=self._groups[parent],
                dag=self._dag,
            )
        return self._groups[name]


def _document(node: StageNode) -> str:
    commands = "\n".join(node.cmd) or f"# no command: DVC fetches {', '.join(node.deps)}"
    # Longer than any fence inside: a command cannot end the block and go on as Markdown.
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", commands)), 0)
    return (
        f"{node.desc or node.name}\n\n{fence}\n{commands}\n{fence}\n\n"
        f"Stage `{node.name}` of `{node.file}`."
    )

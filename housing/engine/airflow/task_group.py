"""The stages of a DVC repository as Airflow tasks: `DvcTaskGroup` and `DvcDag`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from airflow.sdk import DAG, TaskGroup
from airflow.sdk.definitions.param import ParamsDict

from housing.engine import graph
from housing.engine.airflow import isolation, stage_settings
from housing.engine.airflow.assets import asset_of
from housing.engine.airflow.operator import DvcStageOperator
from housing.engine.airflow.run_options import form
from housing.engine.airflow.task_ids import group_id_of, task_id_of
from housing.engine.airflow.workspace import WorkspaceKind
from housing.engine.airflow.write_back import WriteBackOperator
from housing.engine.graph import Graph, StageNode
from housing.engine.graph.selection import chosen


class DvcTaskGroup(TaskGroup):
    """A group of tasks inside a DAG, one for each stage of a DVC repository.

    Edges are those of ``dvc dag``. The stages of a ``matrix`` or ``foreach`` are a group of their
    own inside it, and so are those of a ``dvc.yaml`` in a subfolder. The DAG's trigger form gets
    the options of a run: which stages, which are forced, which parameters are overridden.

    Args:
        group_id: Id of the group.
        root: DVC's root folder.
        name: First part of the names of the outs' assets; by default the root folder's name.
        select: The stages to take, all by default: a stage, or a matrix or foreach as a whole;
            ``+stage`` also takes all that it depends on, ``stage+`` all that depends on it.
        exclude: The stages to leave out, written alike.
        prefix_group_id: Begin each task's id with the group's, as two repositories in one DAG
            need where stages have the same names.
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
        OptionsError: ``select`` or ``exclude`` names no stage.
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
        self.stages = _Rendering(
            self.graph,
            Path(root),
            name,
            self,
            f"{group_id}." if prefix_group_id else "",
        ).render(
            chosen(self.graph.upstream, select, exclude),
            {"pull": pull, "push": push, "workspace": workspace, **(operator_args or {})},
        )
        _complete(self.dag, self.graph)


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
            self._write_back("" if write_back is True else write_back, str(root))
        _complete(self, self.graph)

    def _write_back(self, branch: str, root: str) -> None:
        last = [task for task in self.stages.values() if not task.downstream_task_ids]
        writing = WriteBackOperator(
            task_id="write_back",
            root=str(Path(root).resolve()),
            stages={task.task_id: name for name, task in self.stages.items()},
            branch=branch,
            dag=self,
            doc_md="Commits the `dvc.lock` of a good run.",
        )
        writing.set_upstream(last)


class _Rendering:
    """Makes tasks and nested groups inside one group."""

    def __init__(self, graph: Graph, root: Path, name: str, group: TaskGroup, prefix: str) -> None:
        self._graph = graph
        self._root = root.resolve()
        self._name = name or self._root.name
        self._groups = {"": group}
        self._dag = group.dag
        self._prefix = prefix

    def render(
        self, taken: Collection[str], common: Mapping[str, Any]
    ) -> dict[str, DvcStageOperator]:
        own = stage_settings.operator_args(self._graph.stages, common)
        if common.get("workspace") == "isolated":
            isolation.require([self._graph[name] for name in taken], self._root)
        tasks: dict[str, DvcStageOperator] = {}
        for node in self._graph.stages:
            if node.name not in taken:
                continue
            arguments = {**common, **own.get(node.name, {})}
            tasks[node.name] = task = DvcStageOperator(
                task_id=self._prefix + task_id_of(node.name),
                task_display_name=node.name,
                dag=self._dag,
                task_group=self._group_of(node),
                stage=node.name,
                root=str(self._root),
                file=node.file,
                outlets=[asset_of(self._name, path) for path in node.outs],
                doc_md=_document(node),
                **arguments,
            )
            task.set_upstream([tasks[name] for name in node.upstream if name in tasks])
        return tasks

    def _group_of(self, node: StageNode) -> TaskGroup:
        """The innermost group of a stage: of its subfolder, then of its matrix or foreach."""
        folder = str(PurePosixPath(node.file).parent)
        group = self._group("" if folder == "." else f"{folder}/", "")
        base, at, _ = node.name.partition("@")
        return self._group(base, "" if folder == "." else f"{folder}/") if at else group

    def _group(self, name: str, parent: str) -> TaskGroup:
        if name not in self._groups:
            self._groups[name] = TaskGroup(
                group_id_of(self._prefix + name),
                group_display_name=name.rpartition(":")[2],
                prefix_group_id=False,
                parent_group=self._groups[parent],
                dag=self._dag,
            )
        return self._groups[name]


def _complete(dag: DAG, graph: Graph) -> None:
    """Adds the options of a run to the DAG's form, and what its stages wait for to its page.

    At the end: Airflow copies a DAG's params into every task that is made after them, and with 400
    stages to choose from that would be most of the time to parse the file.
    """
    dag.params = ParamsDict({**dag.params, **form(graph.names)})
    if graph.waiting:
        dag.doc_md = f"**{graph.waiting}**\n\n{dag.doc_md or ''}"


def _document(node: StageNode) -> str:
    commands = "\n".join(node.cmd) or f"# no command: DVC fetches {', '.join(node.deps)}"
    # Longer than any fence inside: a command cannot end the block and go on as Markdown.
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", commands)), 0)
    return (
        f"{node.desc or node.name}\n\n{fence}\n{commands}\n{fence}\n\n"
        f"Stage `{node.name}` of `{node.file}`."
    )

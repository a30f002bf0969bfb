"""The stages of ``dvc.yaml`` and the edges between them, as plain data.

DVC's own resolver makes the graph (``housing.engine.graph.resolve``); a manifest keeps it between
two looks (``housing.engine.graph.manifest``), so that a DAG file reads it without importing DVC.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from housing.engine.graph import manifest
from housing.errors import GraphError, StageBusyError

_log = logging.getLogger("housing.engine.execution")

_LISTS = ("cmd", "deps", "params", "outs", "upstream", "data_sources")
_MOMENT = 0.5
"""Seconds to try for DVC's lock where nobody waits: stages that start and end hold it briefly."""


@dataclass(frozen=True, slots=True)
class StageNode:
    """One stage, resolved: no template is left in it.

    A ``.dvc`` file that has deps and is not frozen is a stage too, an import without a command:
    DVC fetches its data anew where the deps changed.

    Attributes:
        name: As DVC addresses it from the root: ``train@a``, ``sub/dvc.yaml:train``, ``raw.dvc``.
        cmd: The commands, one after the other; none where DVC itself fetches the data.
        desc: What the stage is for, or an empty text.
        deps: Files and folders that it reads, relative to the root; params are not among them.
        params: ``file:key`` for each parameter, ``file`` alone where the whole file counts.
        outs: Files and folders that it writes (metrics and plots too), relative to the root.
        upstream: Names of the stages whose outs it reads, as ``dvc dag`` draws the edges: those
            of a frozen stage are kept, and those through data sources are followed.
        data_sources: The ``.dvc`` files whose data it reads and that are no stage: those of
            ``dvc add``, and frozen ones. Changed data is saved before the stage runs; a frozen
            stage has none.
        frozen: DVC does not run it, whatever changed.
        always_changed: DVC runs it at every look.
        meta: The free section ``meta`` of the stage.
        file: Its ``dvc.yaml`` or ``.dvc`` file, relative to the root.
    """

    name: str
    cmd: tuple[str, ...]
    desc: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    upstream: tuple[str, ...]
    data_sources: tuple[str, ...]
    frozen: bool
    always_changed: bool
    meta: Mapping[str, Any] = field(hash=False)
    file: str


@dataclass(frozen=True, slots=True)
class Graph:
    """All stages, each after everything upstream of it, otherwise in the order of the files.

    Attributes:
        stages: The stages.
        sources: Every file that shapes them, relative to the root, or absolute where it is not
            below it: each ``dvc.yaml``, params and ``vars`` files, DVC's config, ignore files. A
            file that does not exist is among them where it would count.
        waiting: What changed since these stages were resolved and whom it waits for, as a sentence
            for people; empty where the stages are up to date.
    """

    stages: tuple[StageNode, ...]
    sources: tuple[str, ...]
    waiting: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stages, in their order."""
        return tuple(stage.name for stage in self.stages)

    @property
    def upstream(self) -> dict[str, tuple[str, ...]]:
        """Every stage with the stages it directly depends on, by their names."""
        return {stage.name: stage.upstream for stage in self.stages}

    def __getitem__(self, name: str) -> StageNode:
        """The stage of this name.

        Raises:
            GraphError: There is none; the message gives the nearest names.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        import difflib  # a fault pays for it, not each parse of a DAG file

        near = difflib.get_close_matches(name, self.names, n=3)
        all_names = ", ".join(self.names)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are: {all_names}"
        raise GraphError(f"dvc.yaml has no stage {name!r}; {known}", "dvc stage list --all")


def load(root: Path, give_up: Callable[[], None] | None = None) -> Graph:
    """Reads the graph: from the manifest where it still holds, else by DVC's resolver.

    Args:
        root: DVC's root folder.
        give_up: Asked again and again while somebody else holds DVC's lock; it raises to end
            the waiting. Without it nothing waits, as a parse of a DAG file must not: the last
            graph is returned, and says what changed since.

    Raises:
        GraphError: A ``dvc.yaml``, or a file it is made from, is wrong; all broken files are
            named. The folder is no DVC repository.
    """
    root = root.resolve()
    found = manifest.read(root)
    if found:
        return _graph(*found)
    # DVC's import takes 0.5 s and more: a valid manifest must not pay for it.
    from housing.engine.graph import resolve

    if give_up:
        return _graph(*resolve.build(root, give_up))
    try:
        return _graph(*resolve.build(root, _until(time.monotonic() + _MOMENT)))
    except StageBusyError:
        kept = manifest.last(root)
        if kept is None:  # a new clone, while its data is pulled
            return _graph(*resolve.build(root, None))
        return _last(root, *kept)


def _until(deadline: float) -> Callable[[], None]:
    def give_up() -> None:
        if time.monotonic() > deadline:
            raise StageBusyError("somebody else holds DVC's lock", "try again later")

    return give_up


def _last(root: Path, rows: list[manifest.Row], sources: list[str], changed: list[str]) -> Graph:
    from housing.engine.execution.locks import holder

    what = ", ".join(changed) or "files below the root"
    waiting = f"The stages are as they were before {what} changed: {holder(root)} holds DVC's lock."
    _log.warning("%s", waiting)
    return _graph(rows, sources, waiting)


def _graph(rows: list[manifest.Row], sources: list[str], waiting: str = "") -> Graph:
    return Graph(tuple(_node(row) for row in rows), tuple(sources), waiting)


def _node(row: dict[str, Any]) -> StageNode:
    lists = {name: tuple(row[name]) for name in _LISTS}
    return StageNode(**(row | lists))

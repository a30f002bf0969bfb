"""The stages of ``dvc.yaml`` and the edges between them, as plain data.

DVC's own resolver makes the graph (``housing.pipeline.resolve``); a manifest keeps it between two
looks (``housing.pipeline.manifest``), so that a DAG file reads it without importing DVC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from housing.errors import GraphError
from housing.pipeline import manifest


@dataclass(frozen=True, slots=True)
class StageNode:
    """One stage, resolved: no template is left in it.

    Attributes:
        name: As DVC addresses it from the root: ``train@a``, ``sub/dvc.yaml:train``.
        cmd: The commands, one after the other.
        desc: What the stage is for, or an empty text.
        deps: Files and folders that it reads, relative to the root; params are not among them.
        params: ``file:key`` for each parameter, ``file`` alone where the whole file counts.
        outs: Files and folders that it writes (metrics and plots too), relative to the root.
        upstream: Names of the stages whose outs it reads, as ``dvc dag`` draws the edges: those
            of a frozen stage are kept, and those through ``.dvc`` files are followed.
        frozen: DVC does not run it, whatever changed.
        always_changed: DVC runs it at every look.
        meta: The free section ``meta`` of the stage.
        file: Its ``dvc.yaml``, relative to the root.
    """

    name: str
    cmd: tuple[str, ...]
    desc: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    upstream: tuple[str, ...]
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
    """

    stages: tuple[StageNode, ...]
    sources: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stages, in their order."""
        return tuple(stage.name for stage in self.stages)

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


def load(root: Path, give_up: Callable[[], None] = lambda: None) -> Graph:
    """Reads the graph: from the manifest where it still holds, else by DVC's resolver.

    Args:
        root: DVC's root folder.
        give_up: Asked again and again while somebody else holds DVC's lock; it raises to end
            the waiting.

    Raises:
        GraphError: A ``dvc.yaml``, or a file it is made from, is wrong; all broken files are
            named. The folder is no DVC repository.
    """
    root = root.resolve()
    found = manifest.read(root)
    if found is None:
        # DVC's import takes 0.5 s and more: a valid manifest must not pay for it.
        from housing.pipeline import resolve

        found = resolve.build(root, give_up)
    rows, sources = found
    return Graph(tuple(_node(row) for row in rows), tuple(sources))


def _node(row: dict[str, Any]) -> StageNode:
    lists = {name: tuple(row[name]) for name in ("cmd", "deps", "params", "outs", "upstream")}
    return StageNode(**(row | lists))

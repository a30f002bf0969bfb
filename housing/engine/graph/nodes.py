"""The stages of ``dvc.yaml`` and the edges between them: plain data, and nothing that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from housing.engine.errors import GraphError


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
        unpushed: Those of the outs that never go to a remote (``push: false``).
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
    unpushed: tuple[str, ...]
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


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one lies in the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")

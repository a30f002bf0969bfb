"""When a DAG with a part of a repository's stages runs: after those that write what it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from airflow.sdk import AssetAny

from housing.engine import graph
from housing.engine.airflow.assets import asset_of
from housing.engine.errors import OptionsError
from housing.engine.graph import Graph
from housing.engine.graph.nodes import overlap
from housing.engine.graph.selection import chosen


def upstream_assets(
    root: str | Path,
    *,
    name: str = "",
    select: Collection[str] = (),
    exclude: Collection[str] = (),
) -> AssetAny:
    """A schedule for a DAG of some stages: one of the outs that they read from others has changed.

    Several DAGs over one repository, each with a part of its stages, are joined so. A run that
    changes two of the outs may start two runs; the second one finds the stages unchanged.

    Args:
        root: The arguments of the DAG's `DvcTaskGroup` or `DvcDag`, as for the next ones.
        name: See there.
        select: See there.
        exclude: See there.

    Returns:
        The assets of the outs that the taken stages read and others write, any of them.

    Raises:
        GraphError: See `DvcTaskGroup`.
        OptionsError: ``select`` or ``exclude`` names no stage, or the stages read from no others.
    """
    place = Path(root).resolve()
    stages = graph.load(place)
    taken = chosen(stages.upstream, select, exclude)
    found = {out for stage in taken for out in _read_from_others(stages, stage, taken)}
    if not found:
        raise OptionsError(
            f"the stages {', '.join(sorted(taken)) or 'of nothing'} read from no other stages",
            "give the DAG a schedule of its own",
        )
    return AssetAny(*(asset_of(name or place.name, out) for out in sorted(found)))


def _read_from_others(stages: Graph, stage: str, taken: Collection[str]) -> Iterator[str]:
    """The outs of stages that are not taken, which a stage reads."""
    node = stages[stage]
    reads = {*node.deps, *(param.partition(":")[0] for param in node.params)}
    for up in node.upstream:
        outs = stages[up].outs if up not in taken else ()
        read = [out for out in outs if any(overlap(out, path) for path in reads)]
        yield from read or outs  # what comes by way of a .dvc file is not among the deps

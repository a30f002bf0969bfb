"""Reads the stages of ``dvc.yaml`` and the edges between them.

DVC's own resolver makes the graph (``housing.engine.graph.resolve``); a manifest keeps it between
two looks (``housing.engine.graph.manifest``), so that a DAG file reads it without importing DVC.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from housing.engine.errors import StageBusyError
from housing.engine.graph import manifest
from housing.engine.graph.nodes import Graph, StageNode

_log = logging.getLogger("housing.engine.execution")

_LISTS = ("cmd", "deps", "params", "outs", "unpushed", "upstream", "data_sources")
_MOMENT = 0.5
"""Seconds to try for DVC's lock where nobody waits: stages that start and end hold it briefly."""


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

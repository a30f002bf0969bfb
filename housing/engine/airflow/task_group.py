"""Turns DVC's graph into tasks, edges and assets."""

from __future__ import annotations

import re
from pathlib import Path

from housing.engine.airflow.assets import asset_of
from housing.engine.airflow.operator import DvcStageOperator
from housing.engine.airflow.task_ids import task_id_of
from housing.engine.graph import Graph, StageNode


def render(graph: Graph, root: Path, project: str) -> dict[str, DvcStageOperator]:
    """Makes a task of every stage, and an edge of every dependency; call it inside a DAG.

    Args:
        graph: The stages, each after those it depends on.
        root: DVC's root folder.
        project: First part of every asset's name.

    Returns:
        The tasks, by the names of their stages.
    """
    tasks: dict[str, DvcStageOperator] = {}
    for node in graph.stages:
        tasks[node.name] = task = DvcStageOperator(
            task_id=task_id_of(node.name),
            task_display_name=node.name,
            stage=node.name,
            root=str(root),
            file=node.file,
            outlets=[asset_of(project, path) for path in node.outs],
            doc_md=_document(node),
        )
        task.set_upstream([tasks[name] for name in node.upstream])
    return tasks


def _document(node: StageNode) -> str:
    commands = "\n".join(node.cmd)
    # Longer than any fence inside: a command cannot end the block and go on as Markdown.
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", commands)), 0)
    return (
        f"{node.desc or node.name}\n\n{fence}\n{commands}\n{fence}\n\n"
        f"Stage `{node.name}` of `{node.file}`."
    )

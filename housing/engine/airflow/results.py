"""What the stages of an isolated run made, for a task after them."""

from __future__ import annotations

from collections.abc import Collection

from airflow.sdk import Context

from housing.engine import graph
from housing.engine.airflow import other_workers
from housing.engine.airflow.operator import DvcStageOperator
from housing.engine.airflow.remote_connection import login_of
from housing.engine.airflow.workspace import Workspace


def lay_out(
    context: Context, workspace: Workspace, paths: Collection[str] | None = None
) -> list[str]:
    """Completes a workspace by what other workers made; it is entered.

    Its ``dvc.lock`` gets the entries of every stage of the run, and the outs come from the host's
    cache or DVC's remote. A shared workspace has all of it already, and is left alone.

    Args:
        context: The task's context.
        workspace: The workspace of the run.
        paths: The files and folders that the task reads, relative to DVC's root folder; None for
            all that the stages made.

    Returns:
        The outs among them that neither the host's cache nor the remote has.

    Raises:
        RemoteError: The remote does not answer, or lets this worker do nothing.
        EngineError: The remote's copy of an out is damaged.
    """
    if not workspace.isolated:
        return []
    from housing.engine.execution import bring_back  # DVC is too heavy for a DAG file

    tasks = [task for task in context["dag"].tasks if isinstance(task, DvcStageOperator)]
    stages = {task.task_id: task.stage for task in tasks}
    entries = other_workers.all_entries(context["ti"], workspace.project, stages)
    if paths is None:
        nodes = graph.load(workspace.root).stages
        paths = [out for node in nodes if not node.file.endswith(".dvc") for out in node.outs]
    login = login_of(tasks[0].remote_conn_id) if tasks else None
    return bring_back.lay_out(workspace.root, paths, entries, login)

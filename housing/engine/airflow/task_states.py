"""The states of a run's tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol


def states_of(ti: RuntimeTaskInstanceProtocol) -> dict[str, str]:
    """Airflow's state of each task of the run, by task id, empty where it was not even scheduled.

    Args:
        ti: A task instance of the run.
    """
    found: dict[str, Any] = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    return {task_id: str(state or "") for task_id, state in found.items()}

"""Marks the test runs failed that are still running in Airflow's database.

``airflow dags test`` that is interrupted leaves its run there, and the next scheduler would go on
with it. For the time when neither is at work.
"""

from __future__ import annotations

from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select

left = select(DagRun).where(
    DagRun.triggered_by == DagRunTriggeredByType.TEST, DagRun.state == DagRunState.RUNNING
)
with create_session() as session:
    for run in session.scalars(left).all():
        for task in run.get_task_instances(state=State.unfinished, session=session):
            task.set_state(TaskInstanceState.FAILED, session=session)
        run.set_state(DagRunState.FAILED)
        print(f"ended {run.dag_id} {run.run_id}")

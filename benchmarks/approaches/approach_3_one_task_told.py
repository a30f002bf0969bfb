"""A3: A2, and then people are told and the dashboard is made anew."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from gate_branch import judge

from housing.orchestration.dashboard_task import DashboardOperator
from housing.orchestration.notify_tasks import CHANNELS, NotifyOperator
from housing.settings import load_settings

root = str(load_settings().root)

with DAG(
    "approach_3_one_task_told",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    doc_md=__doc__,
) as dag:
    repro = BashOperator(task_id="dvc_repro", bash_command="dvc repro", cwd=root, append_env=True)
    validate, promote, alert = judge(repro, root)
    notify = [
        NotifyOperator(
            task_id=f"notify_{channel}",
            channel=channel,
            root=root,
            validate=validate.task_id,
            promote=promote.task_id,
            alert=alert.task_id,
        )
        for channel in CHANNELS
    ]
    dashboard = DashboardOperator(
        task_id="update_dashboard",
        root=root,
        stages={},
        validate=validate.task_id,
        promote=promote.task_id,
    )
    promote >> [*notify, dashboard]
    alert >> [*notify, dashboard]

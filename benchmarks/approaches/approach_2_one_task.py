"""A2: one task runs `dvc repro`, then the gate judges.

Everything is cached. The stages are one box: nobody sees which one runs, a retry starts the box
again, and independent stages wait for each other.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from gate_branch import judge

from housing.settings import load_settings

root = str(load_settings().root)

with DAG(
    "approach_2_one_task",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    doc_md=__doc__,
) as dag:
    repro = BashOperator(task_id="dvc_repro", bash_command="dvc repro", cwd=root, append_env=True)
    judge(repro, root)

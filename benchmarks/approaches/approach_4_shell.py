"""A4: a shell task for each stage, written by hand.

Cached and visible, but the pipeline is written down twice, each task starts DVC anew, and without
`--wait-for-lock` and `--single-item` stages that run side by side fail on DVC's locks.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from gate_branch import judge

from housing.domain.config import load_params
from housing.settings import load_settings

settings = load_settings()
root = str(settings.root)
candidates = load_params(settings.root / "params.yaml").candidates

with DAG(
    "approach_4_shell",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    doc_md=__doc__,
) as dag:

    def stage(name: str) -> BashOperator:
        """A task that reproduces one stage."""
        return BashOperator(
            task_id=name.replace("@", "."),
            bash_command=f"dvc --wait-for-lock repro --single-item {name}",
            cwd=root,
            append_env=True,
        )

    train = [stage(f"train_model@{name}") for name in candidates]
    stage("ingest_data") >> stage("feature_engineering") >> train
    track = stage("track_model")
    train >> stage("evaluate_model") >> track
    judge(track, root)

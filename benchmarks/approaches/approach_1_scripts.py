"""A1: a task for each script; nothing is cached.

The pipeline is written down twice, here and in dvc.yaml: scripts, order, candidates. Every run does
all of it. DVC comes in once: `dvc commit` records the hashes that the gate asks for.
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
    "approach_1_scripts",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    doc_md=__doc__,
) as dag:

    def script(task_id: str, command: str) -> BashOperator:
        """A task that runs one command in the project's folder."""
        return BashOperator(task_id=task_id, bash_command=command, cwd=root, append_env=True)

    ingest = script("ingest", "python stages/ingest_data.py")
    features = script("features", "python stages/feature_engineering.py")
    train = [script(f"train_{name}", f"python stages/train_model.py {name}") for name in candidates]
    evaluate = script("evaluate", "python stages/evaluate_model.py")
    commit = script("record_hashes", "dvc commit --force --quiet")
    track = script("track", "python stages/track_model.py")
    ingest >> features >> train >> evaluate >> commit >> track
    judge(track, root)

"""A repository of another team, which has nothing but the engine: its DAG file, runs and results.

Used by `tests/test_wheel.py`, and by ``make wheel-test`` on other versions of Airflow: it imports
nothing of the package, so that it meets the one that is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.repository import make_repository

DRIVER = Path(__file__).with_name("airflow_driver.py")
DAG = """
from datetime import UTC, datetime
from airflow.sdk import DAG
from housing.engine import DvcTaskGroup

with DAG("churn", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    DvcTaskGroup("pipeline", root={root!r})
"""
STAGES: dict[str, Any] = {
    "prepare": {"cmd": "grep -v comment raw > clean", "deps": ["raw"], "outs": ["clean"]},
    "train": {
        "matrix": {"model": ["a", "b"]},
        "cmd": 'cat clean params.yaml > ${item.model} && echo "$THREADS" > /dev/null',
        "deps": ["clean"],
        "params": ["lr"],
        "outs": ["${item.model}"],
        "meta": {"airflow": {"pool_slots": 1, "retries": 0, "retry_exponential_backoff": 2}},
    },
    "evaluate": {"cmd": "cat a b > report", "deps": ["a", "b"], "metrics": ["report"]},
}
STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "cold": ("true", {}),
    "unchanged": ("touch raw", {}),
    "same content after the first stage": ("echo comment >> raw", {}),
    "one param changed": ("echo 'lr: 0.2' > params.yaml", {}),
    "overridden": ("true", {"dvc_overrides": ["lr=0.3"]}),
    "forced": ("true", {"dvc_force": "train@a", "dvc_stage": "train@a", "dvc_scope": "only"}),
    "failing": ("echo comment > raw", {}),
}
"""What to type before a run, and the answers to its trigger form, by what is tried."""

SKIPPED, RAN = "skipped", "success"
STATES: dict[str, tuple[str, ...]] = {
    "cold": (RAN, RAN, RAN, RAN),
    "unchanged": (SKIPPED, SKIPPED, SKIPPED, SKIPPED),
    "same content after the first stage": (RAN, SKIPPED, SKIPPED, SKIPPED),
    "one param changed": (SKIPPED, RAN, RAN, RAN),
    "overridden": (SKIPPED, RAN, RAN, RAN),
    "forced": (SKIPPED, RAN, SKIPPED, SKIPPED),
    "failing": ("failed", "upstream_failed", "upstream_failed", "upstream_failed"),
}
"""How the tasks of each of these runs end, in the order of the stages."""


def make_churn(root: Path) -> Path:
    """Makes the repository, and its DAG file beside it.

    Args:
        root: The folder of the repository, which this makes.

    Returns:
        The DAG file.
    """
    make_repository(root, git=False)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    (root / "raw").write_text("rows\n")
    (root / "params.yaml").write_text("lr: 0.1\n")
    dags = root.parent / "dags"
    dags.mkdir()
    (dags / "churn_dag.py").write_text(DAG.format(root=str(root)))
    return dags / "churn_dag.py"


def environment(dag_file: Path, **more: str) -> dict[str, str]:
    """The environment of an Airflow of the other team's own, with nothing of this project's."""
    home = dag_file.parents[1]
    own = ("AIRFLOW", "DVC_", "HOUSING_", "MLFLOW_", "PYTHONDONTWRITEBYTECODE")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(own)},
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dag_file.parent),
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        **more,
    }


def run_steps(
    python: Path | str, dag_file: Path, names: list[str], env: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Runs the DAG once for each step, in a process that finds nothing of this checkout.

    Args:
        python: The interpreter of the environment to run in.
        dag_file: See `make_churn`.
        names: Keys of `STEPS`.
        env: See `environment`.

    Returns:
        What Airflow kept of each run, see `tests/airflow_driver.py`.
    """
    driver = shutil.copy(DRIVER, dag_file.parents[1])
    steps = [{"shell": STEPS[name][0], "conf": STEPS[name][1]} for name in names]
    done = subprocess.run(
        [python, driver, dag_file, "churn"],
        input=json.dumps(steps),
        cwd=dag_file.parents[1] / "churn",
        env=dict(env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    # A listener's process may still log after the results.
    (answer,) = (line for line in done.stdout.splitlines() if line.startswith("[{"))
    results = json.loads(answer)
    return dict(zip(names, results, strict=True))


def states(result: dict[str, Any]) -> tuple[str, ...]:
    """The states of a run's tasks, in the order of the stages."""
    return tuple(result["states"].values())

"""16 independent stages of 2 s as tasks of one DAG run, against 16 tasks that only sleep for 2 s.

Both run through a real scheduler with the same slots (LocalExecutor, SQLite, ``local.env``), in
turn: the second is what Airflow itself makes of its slots. Limit: 1.5 times that.

Usage: ``UV_ENV_FILE=local.env uv run python benchmarks/parallel_tasks.py [REPEATS]``
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from real_airflow import airflow, make_project

STAGES = 16
SECONDS = 2
WARM = 2  # runs that are not counted: Airflow starts a worker with each of its first 16 tasks
DAGS = f"""
from datetime import UTC, datetime
from pathlib import Path
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from housing.engine.airflow.task_group import DvcTaskGroup

root = Path(__file__).parent.parent
START = datetime(2026, 1, 1, tzinfo=UTC)
with DAG("stages", schedule=None, start_date=START):
    DvcTaskGroup("stages", root=root)
with DAG("sleeps", schedule=None, start_date=START):
    for n in range({STAGES}):
        BashOperator(task_id=f"t{{n}}", bash_command="sleep {SECONDS}")
"""


def make(root: Path) -> None:
    """Makes a project with independent stages that read one file."""
    stages = {
        f"s{n}": {"cmd": f"sleep {SECONDS}; cp in {n}", "deps": ["in"], "outs": [str(n)]}
        for n in range(STAGES)
    }
    make_project(root, stages, DAGS)


def main(repeats: int) -> None:
    """Prints the medians and their ratio; every round ends with a clean ``dvc status``."""
    found: dict[str, list[float]] = {"stages": [], "sleeps": []}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        make(root)
        with airflow(root, set(found)) as services:
            for turn in range(WARM + repeats):
                (root / "in").write_text(f"{turn}\n")
                for dag, times in found.items():
                    times.append(services.seconds(dag))
                subprocess.run(["dvc", "status", "--quiet"], cwd=root, check=True)
    counted = {dag: times[WARM:] for dag, times in found.items()}
    for dag, times in counted.items():
        print(f"{dag}: median {statistics.median(times):.2f} s, best {min(times):.2f} s")
    ratios = [ours / theirs for ours, theirs in zip(*counted.values(), strict=True)]
    print(f"ratio: median {statistics.median(ratios):.2f}, limit 1.5")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

"""Four unchanged stages as four tasks, against one task with the whole ``dvc repro``.

They run through a real scheduler (LocalExecutor, SQLite, ``local.env``), in turn, so that other
load hits all alike; four tasks that run ``true`` show what Airflow itself takes. Limits: 1.3 times
the one box, and 2 s. Then nothing runs, to show what the scheduler's short sleep costs.

Usage: ``UV_ENV_FILE=local.env uv run python benchmarks/noop_run.py [REPEATS]``
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from real_airflow import airflow, chain, make_project

DAGS = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, chain
from housing.engine.airflow.task_group import DvcTaskGroup

root = Path(__file__).parent.parent
START = datetime(2026, 1, 1, tzinfo=UTC)
with DAG("four_tasks", schedule=None, start_date=START):
    DvcTaskGroup("stages", root=root)
with DAG("one_box", schedule=None, start_date=START):
    BashOperator(task_id="dvc_repro", bash_command="dvc repro", cwd=str(root))
with DAG("four_true", schedule=None, start_date=START):
    chain(*[BashOperator(task_id=f"t{n}", bash_command="true") for n in range(4)])
"""
NAMES = ("four_tasks", "one_box", "four_true")
IDLE = 10  # seconds
WARM = 3  # runs that are not counted: Airflow starts a worker with each of its first 16 tasks


def make(root: Path) -> None:
    """Makes a project with a chain of four stages that are up to date."""
    make_project(root, chain(4), DAGS)
    subprocess.run(["dvc", "repro", "--quiet"], cwd=root, check=True)


def processor_seconds(pid: int) -> float:
    """What a process has used of a processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(repeats: int) -> None:
    """Prints the medians and their ratio."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        make(root)
        with airflow(root, set(NAMES)) as services:
            for _ in range(WARM):
                for dag in found:
                    services.seconds(dag)
            for _ in range(repeats):
                for dag, times in found.items():
                    times.append(services.seconds(dag))
            before = processor_seconds(services.scheduler)
            time.sleep(IDLE)
            idle = (processor_seconds(services.scheduler) - before) / IDLE
    for dag, times in found.items():
        print(f"{dag}: median {statistics.median(times):.2f} s, best {min(times):.2f} s")
    ratios = [four / one for four, one, _ in zip(*found.values(), strict=True)]
    print(f"ratio: median {statistics.median(ratios):.2f}, limit 1.3")
    print(f"idle: the scheduler takes {idle:.0%} of a processor")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)

"""The price of granularity: chains of unchanged stages, as one task and as a task each.

Through one real scheduler, in turn; a chain of tasks that run `true` shows what Airflow itself
takes. This project's chain has run once before: in the first run after a change DVC looks at every
stage, which is measured as well, once.

Usage: ``make bench``, or
``UV_ENV_FILE=local.env uv run python benchmarks/compare_chain.py [REPEATS]``
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measured import Samples, Table, keep
from real_airflow import airflow, chain, make_project

LENGTHS = (4, 16, 64, 200)
KINDS = {
    "A2 one task": "one_task",
    "A4 shell": "shell",
    "A5 this project": "group",
    "tasks that run true": "true",
}
DAG_FILE = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.sdk import DAG, chain
from {needed}

length = {length}
root = str(Path(__file__).parent.parent / "chain{length}")
with DAG("{kind}_{length}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    {tasks}
"""
BASH = "airflow.providers.standard.operators.bash import BashOperator"
NEEDED = {"group": "housing.engine import DvcTaskGroup"}
TASKS = {
    "one_task": """BashOperator(
        task_id="dvc_repro", bash_command="dvc repro", cwd=root, append_env=True
    )""",
    "shell": """chain(*[
        BashOperator(
            task_id=f"s{n}",
            bash_command=f"dvc --wait-for-lock repro --single-item s{n}",
            cwd=root,
            append_env=True,
        )
        for n in range(length)
    ])""",
    "group": 'DvcTaskGroup("stages", root=root)',
    "true": 'chain(*[BashOperator(task_id=f"s{n}", bash_command="true") for n in range(length)])',
}
"""What is in the DAG of each kind; a file for each, for a task reads all of its file."""


def make(root: Path) -> None:
    """Makes a project for each length, all of whose stages are up to date."""
    (root / "dags").mkdir(parents=True)
    for length in LENGTHS:
        for kind, tasks in TASKS.items():
            needed = NEEDED.get(kind, BASH)
            text = DAG_FILE.format(needed=needed, length=length, kind=kind, tasks=tasks)
            (root / "dags" / f"{kind}_{length}.py").write_text(text)
        project = root / f"chain{length}"
        make_project(project, chain(length))
        subprocess.run(["dvc", "repro", "--quiet"], cwd=project, check=True)


def main(repeats: int) -> None:
    """Measures, and keeps what it found."""
    table: Table = {}
    after_change: Table = {}
    dags = {f"{kind}_{length}" for kind in KINDS.values() for length in LENGTHS}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        make(root)
        with airflow(root, dags) as services:
            for _ in range(4):  # Airflow starts a worker with each of its first 16 tasks
                for kind in set(KINDS.values()) - {"group"}:
                    services.seconds(f"{kind}_{LENGTHS[0]}")
            for length in LENGTHS:
                after = after_change.setdefault(f"A5 after a change, {length} stages", Samples())
                after.take(partial(services.seconds, f"group_{length}"))
                for _ in range(repeats):
                    for name, kind in KINDS.items():
                        samples = table.setdefault(f"{name}, {length} stages", Samples())
                        samples.take(partial(services.seconds, f"{kind}_{length}"))
                    # A turn takes minutes: after an interruption what was measured so far is there.
                    keep("chain", table | after_change)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

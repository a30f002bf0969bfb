"""What a stage's output costs: the same 5 MB in 50,000 lines, in 500 lines, and into a file.

Airflow's supervisor of a task makes a log event of every line (secrets masked, JSON, written), and
the command waits for that once the socket between them is full: lines count, not bytes. The stages
run through a real scheduler (LocalExecutor, SQLite, ``local.env``).

Usage: ``UV_ENV_FILE=local.env uv run python benchmarks/log_lines.py [REPEATS]``
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from real_airflow import airflow

DAGS = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.sdk import DAG
from housing.engine.airflow.operator import DvcStageOperator

for name in ("many_lines", "long_lines", "into_a_file"):
    with DAG(name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        DvcStageOperator(task_id="stage", stage=name, root=str(Path(__file__).parent.parent))
"""
MANY, FEW, SIZE = 50_000, 500, 5_000_000
PRINT = "python3 -c 'for _ in range({lines}): print(\"x\" * {width})'"
STAGES = {
    "many_lines": PRINT.format(lines=MANY, width=SIZE // MANY - 1),
    "long_lines": PRINT.format(lines=FEW, width=SIZE // FEW - 1),
    "into_a_file": PRINT.format(lines=MANY, width=SIZE // MANY - 1) + " > stage.log",
}


def main(repeats: int) -> None:
    """Prints the medians, and the lines that Airflow takes in a second."""
    found: dict[str, list[float]] = {name: [] for name in STAGES}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        (root / "dags").mkdir(parents=True)
        (root / "dags" / "bench.py").write_text(DAGS)
        stages = {name: {"cmd": command} for name, command in STAGES.items()}
        (root / "dvc.yaml").write_text(json.dumps({"stages": stages}))
        (root / ".dvcignore").write_text("/.airflow\n/dags\n/*.log\n")
        for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
            subprocess.run(command, cwd=root, check=True)
        with airflow(root, set(STAGES)) as services:
            for dag in STAGES:  # not counted: the workers warm up
                services.seconds(dag)
            for _ in range(repeats):
                for dag, times in found.items():
                    times.append(services.seconds(dag))
    median = {dag: statistics.median(times) for dag, times in found.items()}
    for dag, seconds in median.items():
        print(f"{dag}: median {seconds:.2f} s")
    rate = MANY / (median["many_lines"] - median["into_a_file"])
    print(f"Airflow takes {rate:,.0f} lines a second")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)

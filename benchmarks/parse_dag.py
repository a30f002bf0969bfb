"""What the DAG file costs to parse, above ``import airflow.sdk``, as the graph grows.

Every task process parses the DAG file again. ``airflow.sdk`` loads a name when it is asked for it,
so the names that the DAG takes from it are asked for first. Limits: 50 ms at 4 stages, 0.2 ms for
each more.

Usage: ``uv run python benchmarks/parse_dag.py``
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SIZES = [4, 40, 400]
REPEATS = 7
PARSE = """
import runpy, sys, time
import airflow.sdk
from airflow.sdk import DAG, Asset, AssetWatcher, AssetOrTimeSchedule, CronTriggerTimetable
from airflow.sdk import BaseBranchOperator, BaseOperator, Param
start = time.process_time()
dag = runpy.run_path(sys.argv[1])["dag"]
print(len(dag.tasks), time.process_time() - start)
"""


def make(root: Path, count: int) -> None:
    """Makes a project whose graph is a chain of so many stages."""
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    shutil.copy(ROOT / "params.yaml", root)
    stages = {
        f"s{n}": {"cmd": f"touch {n}", "deps": [str(n - 1)] if n else [], "outs": [str(n)]}
        for n in range(count)
    }
    (root / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)


def parse(root: Path) -> float:
    """Processor seconds of one parse in a new process: other load counts less than on a clock."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags" / "housing_ml_pipeline.py")],
        env=os.environ | {"HOUSING_ROOT": str(root)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Prints the median of each size, and the growth."""
    found: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in SIZES:
            root = Path(folder) / str(count)
            make(root, count)
            parse(root)  # resolves the graph with DVC, and keeps it
            found[count] = statistics.median(parse(root) for _ in range(REPEATS))
            print(f"{count:4} stages: {found[count] * 1000:6.1f} ms")
    growth = (found[SIZES[-1]] - found[SIZES[0]]) / (SIZES[-1] - SIZES[0])
    print(f"growth: {growth * 1000:.3f} ms a stage")


if __name__ == "__main__":
    main()

"""What the DAG file costs to parse, above ``import airflow.sdk``, as the graph grows.

Every task process parses the DAG file again. ``airflow.sdk`` loads a name when it is asked for it,
so the names that the DAG takes from it are asked for first. Beside it stands a DAG of as many plain
tasks in a chain, which is what Airflow itself takes. Limits: 50 ms at 4 stages, 0.2 ms for each
more.

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
start = time.process_time()
import airflow.sdk
from airflow.sdk import DAG, Asset, AssetWatcher, AssetOrTimeSchedule, CronTriggerTimetable
from airflow.sdk import BaseBranchOperator, BaseOperator, Param
imported = time.process_time()
dag = runpy.run_path(sys.argv[1])["dag"]
print(len(dag.tasks), imported - start, time.process_time() - imported)
"""
PLAIN = """
from datetime import UTC, datetime
from airflow.sdk import DAG, BaseOperator, chain
with DAG("plain", schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
    chain(*[BaseOperator(task_id=f"s{{n}}", doc_md=f"stage {{n}}") for n in range({count})])
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


def parse(file: Path, root: Path) -> tuple[float, float]:
    """Processor seconds of the import and of one parse, in a new process.

    Other load counts less in them than on a clock.
    """
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(file)],
        env=os.environ | {"HOUSING_ROOT": str(root)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    imported, parsed = done.stdout.split()[-2:]
    return float(imported), float(parsed)


def main() -> None:
    """Prints the median of each size, the growth, and both beside plain tasks."""
    imports: list[float] = []
    ours: dict[int, float] = {}
    plain: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in SIZES:
            root = Path(folder) / str(count)
            make(root, count)
            bare = Path(folder) / f"plain{count}.py"
            bare.write_text(PLAIN.format(count=count))
            own = ROOT / "dags" / "housing_ml_pipeline.py"
            parse(own, root)  # resolves the graph with DVC, and keeps it
            # In turns: what slows the machine for a while slows both.
            pairs = [(parse(own, root), parse(bare, root)) for _ in range(REPEATS)]
            imports += [seconds for pair in pairs for seconds, _ in pair]
            ours[count] = statistics.median(pair[0][1] for pair in pairs)
            plain[count] = statistics.median(pair[1][1] for pair in pairs)
            print(
                f"{count:4} stages: {ours[count] * 1000:6.1f} ms,"
                f" as plain tasks {plain[count] * 1000:6.1f} ms"
            )
    growth, least = (
        (found[SIZES[-1]] - found[SIZES[0]]) / (SIZES[-1] - SIZES[0]) for found in (ours, plain)
    )
    print(f"growth: {growth * 1000:.3f} ms a stage, {least * 1000:.3f} ms a plain task")
    whole = statistics.median(imports)
    print(f"import airflow.sdk: {whole * 1000:.0f} ms; a parse is {ours[4] / whole:.1%} of it")


if __name__ == "__main__":
    main()

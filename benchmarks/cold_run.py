"""Where the time of a run goes that has everything to do, and how long one takes without anything.

This repository's pipeline runs through a real scheduler on data that no cache knows. Of each task
on the critical path, which decided when the run ended, the seconds are split: waiting for the
scheduler, Airflow's own part, DVC (hashing, locks, the cache), imports of the stage's script, and
the work itself. Imports are measured apart, in the same sitting; the work is what then remains of
the command's seconds. Then the whole DAG runs twice with nothing to do: DVC looks once more at the
stages that have just run, and after that at none.

Usage: ``make bench``, or
``UV_ENV_FILE=local.env uv run python benchmarks/cold_run.py [REPEATS]``
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from compare_days import DAYS, Project, make
from measured import Samples, Table, keep
from real_airflow import Airflow, airflow, mlflow

from housing.engine import graph
from housing.engine.airflow.task_ids import task_id_of
from housing.engine.stage_notes import last_duration

DAG = "housing_ml_pipeline"
PARTS = ("scheduler", "Airflow's tasks", "DVC", "imports", "work of the stages", "gate and after")
NOTHING_TO_DO = ("right after a run that had to do everything", "after that")
GATE = {"validate_model", "promote_to_staging"}


def imports(root: Path) -> dict[str, float]:
    """Seconds that the imports of each stage's script take, by the stage's name."""
    found = {}
    for node in graph.load(root).stages:
        script = shlex.split(node.cmd[0])[1]
        code = f"import runpy; runpy.run_path({script!r}, run_name='imported')"
        command = [sys.executable, "-c", code]
        found[node.name] = min(_run(command, root) for _ in range(3))
    return found


def _run(command: Sequence[str], root: Path) -> float:
    begun = time.monotonic()
    subprocess.run(command, cwd=root, check=True)
    return time.monotonic() - begun


def path(
    tasks: Mapping[str, Mapping[str, Any]], upstream: Mapping[str, Sequence[str]]
) -> list[str]:
    """Ids of the tasks that decided when the run ended, from its begin."""
    found = [max(tasks, key=lambda name: tasks[name]["end"])]
    while before := upstream[found[0]]:
        found.insert(0, max(before, key=lambda name: tasks[name]["end"]))
    return found


def split(services: Airflow, root: Path, imported: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each of `PARTS` in the newest run."""
    url = f"/api/v2/dags/{DAG}"
    newest = f"{url}/dagRuns?order_by=-start_date&limit=1"
    run = services.client.get(newest).json()["dag_runs"][0]
    here = f"{url}/dagRuns/{run['dag_run_id']}/taskInstances"
    told = services.client.get(here).json()["task_instances"]
    tasks = {
        task["task_id"]: {side: _clock(task[f"{side}_date"]) for side in ("start", "end")}
        for task in told
        if task["end_date"] and task["start_date"]
    }
    upstream: dict[str, list[str]] = {name: [] for name in tasks}
    for task in services.client.get(f"{url}/tasks").json()["tasks"]:
        for after in set(task["downstream_task_ids"]) & set(tasks):
            if task["task_id"] in tasks:
                upstream[after].append(task["task_id"])
    stages = {task_id_of(name) for name in imported}
    seconds = dict.fromkeys(PARTS, 0.0)
    before = _clock(run["start_date"])
    for name in path(tasks, upstream):
        seconds["scheduler"] += max(0.0, tasks[name]["start"] - before)
        before, whole = tasks[name]["end"], tasks[name]["end"] - tasks[name]["start"]
        if name not in stages:
            seconds["gate and after" if name in GATE else "Airflow's tasks"] += whole
            continue
        record = services.client.get(f"{here}/{name}/xcomEntries/return_value").json()["value"]
        stage, command = record["stage"], last_duration(root, record["stage"]) or 0.0
        seconds["Airflow's tasks"] += whole - record["seconds"]
        seconds["imports"] += imported[stage]
        seconds["work of the stages"] += command - imported[stage]
        seconds["DVC"] += record["seconds"] - command
    return seconds


def _clock(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main(repeats: int) -> None:
    """Measures, and keeps what it found."""
    table: Table = {name: Samples() for name in PARTS}
    idle: Table = {name: Samples() for name in NOTHING_TO_DO}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        make(root)
        imported = imports(root)
        with mlflow(root), airflow(root, {DAG}) as services:
            services.seconds(DAG)
            project = Project(root)
            for _ in range(repeats):
                project.begin(DAYS[0])
                services.seconds(DAG)
                for name, seconds in split(services, root, imported).items():
                    table[name].seconds.append(seconds)
                for samples in idle.values():
                    samples.take(partial(services.seconds, DAG))
    keep("cold", table)
    keep("noop", idle)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

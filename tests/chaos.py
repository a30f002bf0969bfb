"""Random kills through a real scheduler, with outputs that must be exact to the byte.

Usage: ``make chaos``, or ``PYTHONPATH=benchmarks uv run python -m tests.chaos [KILLS [SEED]]``.

A small graph runs again and again, each time on new input. While it runs, SIGKILL meets a process
of the family at random moments: Airflow's executor worker, the task, either supervisor, both at
once, the shell, what it started, or all of them. Airflow retries. A run that succeeded must have
left in every out just what the commands make of that input, in DVC's cache only whole objects, and
no temporary file. Too long for the suite: its short form is ``test_pipeline_kill.py``.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
from real_airflow import Airflow, airflow

from housing.engine.execution import cache_proof, lockfile

DAG = """
from datetime import UTC, datetime, timedelta
from pathlib import Path
from airflow.sdk import DAG
from housing.engine.airflow.task_group import DvcTaskGroup

root = Path(__file__).parent.parent
with DAG("chaos", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC),
         default_args={"retries": 20, "retry_delay": timedelta(seconds=1)}):
    DvcTaskGroup("stages", root=root)
"""
LINES = 8
SLOWLY = "for n in 1 2 3 4 5 6 7 8; do cat {source} >> {out} && sleep 0.1; done && sleep 0.1"
EDGES = {"a": "in", "b": "a", "c": "a", "d": "b"}
STAGES = {
    out: {"cmd": SLOWLY.format(source=source, out=out), "deps": [source], "outs": [out]}
    for out, source in EDGES.items()
}
WORKERS = 5
"""Executor workers to kill at most: Airflow notices by the missing heartbeat, which takes long."""
LIMIT = 300  # seconds for one run, kills and retries and all
SETTINGS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
}


def make(root: Path) -> None:
    """Makes the project."""
    (root / "dags").mkdir(parents=True)
    (root / "dags" / "chaos.py").write_text(DAG)
    (root / "dvc.yaml").write_text(json.dumps({"stages": STAGES}))
    (root / ".dvcignore").write_text("/.airflow\n/dags\n/*.log\n")
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True)


def expected(text: str, out: str) -> str:
    """What an out holds for this input."""
    return text if out == "in" else expected(text, EDGES[out]) * LINES


def families(scheduler: int) -> Iterator[dict[str, list[psutil.Process]]]:
    """The processes of each running stage, by their part."""
    for outer in psutil.Process(scheduler).children(recursive=True):
        with contextlib.suppress(psutil.Error, IndexError):
            if "supervise.py" not in " ".join(outer.cmdline()):
                continue
            task = outer.parent()
            if task is None or "supervise.py" in " ".join(task.cmdline()):
                continue  # the inner one
            inner = outer.children()[0]
            below = inner.children(recursive=True)
            worker = task.parent()
            yield {
                "worker": [worker] if worker else [],
                "task": [task],
                "outer supervisor": [outer],
                "inner supervisor": [inner],
                "both supervisors": [outer, inner],
                "shell": below[:1],
                "command": below[1:2],
                "all of it": [task, outer, inner, *below],
            }


def strike(scheduler: int, chance: random.Random, hits: collections.Counter[str]) -> None:
    """Kills one part of one running stage, if one runs."""
    running = list(families(scheduler))
    if not running:
        return
    family = chance.choice(running)
    parts = [part for part, found in family.items() if found]
    if hits["worker"] >= WORKERS and "worker" in parts:
        parts.remove("worker")
    part = chance.choice(parts)
    for process in family[part]:
        with contextlib.suppress(psutil.Error):
            process.suspend()
    for process in family[part]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    hits[part] += 1


def run_under_fire(
    services: Airflow,
    run: str,
    chance: random.Random,
    hits: collections.Counter[str],
    kills: int,
) -> str:
    """Runs the DAG once, killing as it goes; its state at the end."""
    url = "/api/v2/dags/chaos/dagRuns"
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        state = "unknown"
        with contextlib.suppress(httpx.TransportError):  # the machine is busy
            answer = services.client.get(f"{url}/{run}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                services.client.post(url, json={"logical_date": None, "dag_run_id": run})
                continue
            state = str(answer.json()["state"])
        if state in {"success", "failed"}:
            return state
        time.sleep(chance.uniform(0.05, 1.0))
        if sum(hits.values()) < kills:
            strike(services.scheduler, chance, hits)
    return "stuck"


def faults(root: Path, text: str) -> list[str]:
    """What is wrong after a run that succeeded."""
    found = [f"{out} differs" for out in EDGES if (root / out).read_text() != expected(text, out)]
    found += [f"no entry for {out}" for out in EDGES.keys() - lockfile.read(root).keys()]
    found += [f"{path} is damaged" for path in cache_proof.damaged_objects(root)[1]]
    found += [f"{out} is damaged" for out in cache_proof.damaged_outs(root)]
    found += [f"left: {path}" for path in root.rglob("*.tmp") if path.is_file()]
    status = subprocess.run(["dvc", "status"], cwd=root, capture_output=True, text=True, check=True)
    if "up to date" not in status.stdout:
        found.append(status.stdout)
    return found


def main(kills: int, seed: int) -> int:
    """Kills so often; returns the exit code."""
    chance = random.Random(seed)
    hits: collections.Counter[str] = collections.Counter()
    states: collections.Counter[str] = collections.Counter()
    os.environ.update(SETTINGS)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        make(root)
        with airflow(root, {"chaos"}) as services:
            while sum(hits.values()) < kills:
                text = f"{sum(states.values())}\n"
                (root / "in").write_text(text)
                run = f"run-{sum(states.values())}"
                state = run_under_fire(services, run, chance, hits, kills)
                states[state] += 1
                wrong = faults(root, text) if state == "success" else []
                if state == "stuck" or wrong:
                    print(f"{state} after {dict(hits)}: {wrong}")
                    return 1
                print(f"{sum(hits.values())} kills, {dict(states)}", flush=True)
    print(f"{sum(hits.values())} kills: {dict(hits)}; runs: {dict(states)}; every out was exact")
    return 0


if __name__ == "__main__":
    numbers = [int(given) for given in sys.argv[1:]]
    sys.exit(main(*(numbers + [100, 1][len(numbers) :])))

"""Four unchanged stages as four tasks, against one task with the whole ``dvc repro``.

They run through a real scheduler (LocalExecutor, SQLite, ``local.env``), in turn, so that other
load hits all alike; four tasks that run ``true`` show what Airflow itself takes. Limits: 1.3 times
the one box, and 2 s. Then nothing runs, to show what the scheduler's short sleep costs.

Usage: ``UV_ENV_FILE=local.env uv run python benchmarks/noop_run.py [REPEATS]``
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
DAGS = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, chain
from housing.airflow.render import render
from housing.pipeline import graph

root = Path(__file__).parent.parent
START = datetime(2026, 1, 1, tzinfo=UTC)
with DAG("four_tasks", schedule=None, start_date=START):
    render(graph.load(root), root, project="bench")
with DAG("one_box", schedule=None, start_date=START):
    BashOperator(task_id="dvc_repro", bash_command="dvc repro", cwd=str(root))
with DAG("four_true", schedule=None, start_date=START):
    chain(*[BashOperator(task_id=f"t{n}", bash_command="true") for n in range(4)])
"""
NAMES = ("four_tasks", "one_box", "four_true")
IDLE = 10  # seconds
WARM = 3  # runs that are not counted: Airflow starts a worker with each of its first 16 tasks
STAGES = {
    f"s{n}": {"cmd": f"echo {n} > {n}", "deps": [str(n - 1)] if n else [], "outs": [str(n)]}
    for n in range(4)
}


def make(root: Path) -> None:
    """Makes a project with a chain of four stages that are up to date."""
    (root / "dags").mkdir(parents=True)
    (root / "dags" / "bench.py").write_text(DAGS)
    (root / "dvc.yaml").write_text(json.dumps({"stages": STAGES}))
    shutil.copy(ROOT / ".dvcignore", root)
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"], ["dvc", "repro", "-q"]):
        subprocess.run(command, cwd=root, check=True)


def environment(root: Path, port: int) -> dict[str, str]:
    """The environment of ``local.env`` with every path moved into the benchmark's project."""
    moved = {name: value.replace(str(ROOT), str(root)) for name, value in os.environ.items()}
    moved["PATH"] = os.environ["PATH"]
    url = f"http://127.0.0.1:{port}"
    return {**moved, "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/"}


@contextlib.contextmanager
def airflow(root: Path, env: dict[str, str], port: int) -> Iterator[tuple[httpx.Client, int]]:
    """Runs Airflow on the project; yields a client that is logged in, and the scheduler's id."""
    commands = (
        ["airflow", "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        ["airflow", "dag-processor"],
        ["airflow", "scheduler", "--skip-serve-logs"],
    )
    with (root / "airflow.log").open("w") as log, contextlib.ExitStack() as stack:
        subprocess.run(["airflow", "db", "migrate"], env=env, stdout=log, stderr=log, check=True)
        for command in commands:
            process = subprocess.Popen(command, env=env, cwd=root, stdout=log, stderr=log)
            stack.callback(end, process)
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
        _await(lambda: _dags(client) >= set(NAMES), client, root)
        yield client, process.pid


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a service; Airflow's scheduler now and then waits for ever for a worker of its own."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()


def _await(ready: Any, client: httpx.Client, root: Path) -> None:  # noqa: ANN401  # a condition
    for _ in range(240):
        with contextlib.suppress(httpx.HTTPError, KeyError, FileNotFoundError):
            passwords = json.loads((root / ".airflow" / "passwords.json").read_text())
            login = {"username": "admin", "password": passwords["admin"]}
            token = client.post("/auth/token", json=login).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            if ready():
                return
        time.sleep(0.5)
    sys.exit((root / "airflow.log").read_text()[-3000:])


def _dags(client: httpx.Client) -> set[str]:
    return {dag["dag_id"] for dag in client.get("/api/v2/dags").json()["dags"]}


def seconds(client: httpx.Client, dag: str) -> float:
    """Runs a DAG once; its run's duration by Airflow's own clock."""
    url = f"/api/v2/dags/{dag}/dagRuns"
    run = client.post(url, json={"logical_date": None}).json()["dag_run_id"]
    while (found := client.get(f"{url}/{run}").json())["state"] not in {"success", "failed"}:
        time.sleep(0.3)
    if found["state"] == "failed":
        sys.exit(f"{dag} failed")
    return float(found["duration"])


def processor_seconds(pid: int) -> float:
    """What a process has used of a processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(repeats: int) -> None:
    """Prints the medians and their ratio."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        make(root)
        with airflow(root, environment(root, port), port) as (client, scheduler):
            for _ in range(WARM):
                for dag in found:
                    seconds(client, dag)
            for _ in range(repeats):
                for dag, times in found.items():
                    times.append(seconds(client, dag))
            before = processor_seconds(scheduler)
            time.sleep(IDLE)
            idle = (processor_seconds(scheduler) - before) / IDLE
    for dag, times in found.items():
        print(f"{dag}: median {statistics.median(times):.2f} s, best {min(times):.2f} s")
    ratios = [four / one for four, one, _ in zip(*found.values(), strict=True)]
    print(f"ratio: median {statistics.median(ratios):.2f}, limit 1.3")
    print(f"idle: the scheduler takes {idle:.0%} of a processor")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)

"""A real Airflow and a real MLflow for a benchmark, on a project's folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Airflow:
    """Services that run.

    Attributes:
        client: Talks to the API server, logged in.
        scheduler: The scheduler's process id.
    """

    client: httpx.Client
    scheduler: int

    def seconds(self, dag: str) -> float:
        """Runs a DAG once; its run's duration by Airflow's own clock."""
        url = f"/api/v2/dags/{dag}/dagRuns"
        answer = self.client.post(url, json={"logical_date": None}).raise_for_status()
        run = answer.json()["dag_run_id"]
        while (found := self._ask(f"{url}/{run}"))["state"] not in ENDED:
            time.sleep(0.3)
        if found["state"] == "failed":
            sys.exit(f"{dag} failed\n{self._failures(f'{url}/{run}')}")
        return float(found["duration"])

    def seconds_until(self, dag: str, tasks: set[str]) -> float:
        """Seconds from the start of a DAG's newest manual run to the end of the last of these."""
        url = f"/api/v2/dags/{dag}/dagRuns"
        run = self._ask(f"{url}?run_type=manual&order_by=-start_date&limit=1")["dag_runs"][0]
        found = self._ask(f"{url}/{run['dag_run_id']}/taskInstances")["task_instances"]
        ends = [task["end_date"] for task in found if task["task_id"] in tasks]
        end = max(datetime.fromisoformat(end) for end in ends if end)
        return (end - datetime.fromisoformat(run["start_date"])).total_seconds()

    def _ask(self, url: str) -> Any:  # noqa: ANN401  # JSON
        return self.client.get(url).raise_for_status().json()

    def _failures(self, run: str) -> str:
        """The end of the log of each task that failed."""
        tasks = self.client.get(f"{run}/taskInstances").json()["task_instances"]
        failed = [task["task_id"] for task in tasks if task["state"] == "failed"]
        logs = {name: self.client.get(f"{run}/taskInstances/{name}/logs/1") for name in failed}
        return "\n".join(f"{name}: {log.text[-3000:]}" for name, log in logs.items())


def make_project(root: Path, stages: Mapping[str, object], dag_file: str = "") -> None:
    """Makes a git and DVC repository.

    Args:
        root: Its folder, new or with files in it.
        stages: The stages of its ``dvc.yaml``.
        dag_file: Text of a DAG file, or "" for none.
    """
    root.mkdir(parents=True, exist_ok=True)
    if dag_file:
        (root / "dags").mkdir()
        (root / "dags" / "bench.py").write_text(dag_file)
    (root / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    shutil.copy(ROOT / ".dvcignore", root)
    for command in ("git init --quiet", "dvc init --quiet"):
        subprocess.run(command.split(), cwd=root, check=True)


def chain(length: int) -> dict[str, object]:
    """A chain of stages, each of which reads what the one before it wrote."""
    return {
        f"s{n}": {"cmd": f"echo {n} > {n}", "deps": [str(n - 1)] if n else [], "outs": [str(n)]}
        for n in range(length)
    }


ENDED = {"success", "failed"}


@contextlib.contextmanager
def airflow(root: Path, dags: set[str]) -> Iterator[Airflow]:
    """Runs Airflow on a project, with ``local.env`` moved there.

    Args:
        root: The project's folder; its DAG files are in ``dags``.
        dags: The DAGs to wait for.
    """
    port = _free_port()
    env = _environment(root, port)
    commands = (
        ["airflow", "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        ["airflow", "dag-processor"],
        ["airflow", "scheduler", "--skip-serve-logs"],
    )
    with (root / "airflow.log").open("w") as log, contextlib.ExitStack() as stack:
        subprocess.run(["airflow", "db", "migrate"], env=env, stdout=log, stderr=log, check=True)
        for command in commands:
            process = subprocess.Popen(command, env=env, cwd=root, stdout=log, stderr=log)
            stack.callback(_end, process)
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
        _await(lambda: _dags(client, root) >= dags, root / "airflow.log")
        yield Airflow(client, process.pid)


@contextlib.contextmanager
def mlflow(root: Path) -> Iterator[None]:
    """Runs MLflow's server on a project, as `make up` does; what starts meanwhile uses it.

    Args:
        root: The project's folder.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    folder = root / ".mlflow"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-serve-artifacts"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--default-artifact-root", (folder / "artifacts").as_uri()]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (root / "mlflow.log").open("w") as log, contextlib.ExitStack() as stack:
        # It starts processes of its own, which end with their group.
        server = subprocess.Popen(
            command, env=env, cwd=root, stdout=log, stderr=log, start_new_session=True
        )
        stack.callback(os.killpg, server.pid, signal.SIGTERM)
        _await(lambda: httpx.get(f"{url}/health").is_success, root / "mlflow.log")
        os.environ["MLFLOW_TRACKING_URI"] = url
        stack.callback(os.environ.pop, "MLFLOW_TRACKING_URI")
        yield


def _environment(root: Path, port: int) -> dict[str, str]:
    moved = {name: value.replace(str(ROOT), str(root)) for name, value in os.environ.items()}
    moved["PATH"] = os.environ["PATH"]
    # A task's standard input is a socket, for which bash reads ~/.bashrc: that may change PATH.
    moved["HOME"] = str(root)
    url = f"http://127.0.0.1:{port}"
    return {**moved, "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a service; Airflow's scheduler now and then waits for ever for a worker of its own."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await(ready: Callable[[], bool], log: Path) -> None:
    for _ in range(1200):  # many times what a quiet machine takes
        with contextlib.suppress(httpx.HTTPError, KeyError, FileNotFoundError):
            if ready():
                return
        time.sleep(0.5)
    sys.exit(log.read_text()[-3000:])


def _dags(client: httpx.Client, root: Path) -> set[str]:
    passwords = json.loads((root / ".airflow" / "passwords.json").read_text())
    login = {"username": "admin", "password": passwords["admin"]}
    token = client.post("/auth/token", json=login).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    return {dag["dag_id"] for dag in client.get("/api/v2/dags").json()["dags"]}

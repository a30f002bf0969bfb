"""The compose stack under test: its services, called as a user calls them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from housing.engine import graph
from housing.engine.airflow.task_ids import task_id_of
from scripts.run_once import ENDED, AirflowApi

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "housing-stack-test"
DAG = "/dags/housing_ml_pipeline"
MODEL = "housing-price"
SCHEDULER = "airflow-scheduler"
API = "airflow-api-server"
PROCESSOR = "airflow-dag-processor"
LONG_STAGE = "train_model.xgboost"
LONG_COMMAND = "stages/train_model.py xgboost"
BEGIN = time.monotonic()


def say(text: str) -> None:
    """Prints a line with the seconds since the start."""
    print(f"[{time.monotonic() - BEGIN:6.1f} s] {text}", flush=True)


def check(holds: bool, fact: str) -> None:
    """Notes a fact that holds, or ends the test."""
    if not holds:
        raise AssertionError(fact)
    say(f"  ok: {fact}")


def until(holds: Callable[[], bool], what: str, seconds: float = 600) -> None:
    """Waits for something."""
    limit = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > limit:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.5)


def stages() -> set[str]:
    """The tasks of the stages."""
    return {task_id_of(stage.name) for stage in graph.load(ROOT).stages}


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def load() -> str:
    """Under which condition a time was taken: how many processes want how many cores."""
    return f"(load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores)"


@contextmanager
def busy_cores() -> Iterator[None]:
    """All cores of the machine have something to do meanwhile."""
    loop = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(loop) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def docker(*arguments: str, text: str | None = None) -> str:
    """Calls Docker, with a standard input; returns what it printed."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, input=text
    )
    if done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Stack:
    """The services under test.

    Args:
        folder: Where the generated secrets are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "env"
        subprocess.run([ROOT / "scripts/secrets", self.secrets], check=True)
        lines = self.secrets.read_text().splitlines()
        self.password = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
        self.ports = {name: free_port() for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "FLOWER_PORT")}
        self.env = {name: str(port) for name, port in self.ports.items()}
        self.env |= {"HOUSING_RETRY_DELAY": "2", "COMPOSE_PROJECT_NAME": PROJECT}
        self.env |= {"HOUSING_EXTRAS": "s3 kubernetes git"}
        url = f"http://127.0.0.1:{self.ports['AIRFLOW_PORT']}"
        self.airflow = AirflowApi(url, self.password["AIRFLOW_ADMIN_PASSWORD"])
        self.mlflow_url = f"http://127.0.0.1:{self.ports['MLFLOW_PORT']}/api/2.0"
        self.login = ("admin", self.password["MLFLOW_ADMIN_PASSWORD"])
        self.mlflow = httpx.Client(
            base_url=f"{self.mlflow_url}/mlflow", timeout=60, auth=self.login
        )

    def call(self, *command: str | Path, **more: str) -> str:
        """Runs a command with the stack's environment; returns what it printed."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | self.password | self.env | more,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            told = f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
            raise AssertionError(f"{' '.join(map(str, command))}:\n{told}")
        return done.stdout + done.stderr

    @cached_property
    def command(self) -> list[str]:
        """Compose v2 where Docker has it, else docker-compose."""
        v2 = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        return ["docker-compose"] if v2.returncode else ["docker", "compose"]

    def compose(self, *arguments: str, **more: str) -> str:
        """Calls compose; returns what it printed."""
        return self.call(*self.command, *arguments, **more)

    def containers(self) -> dict[str, Any]:
        """What Docker knows of each container, by service."""
        label = f"label=com.docker.compose.project={PROJECT}"
        ids = docker("ps", "-aq", "--filter", label).split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def inside(self, service: str, *command: str) -> str:
        """Runs a command in a service's container."""
        return docker("exec", self.containers()[service]["Id"], *command)

    def write(self, service: str, path: str, text: str) -> None:
        """Writes a file in a service's container."""
        container = self.containers()[service]["Id"]
        docker("exec", "-i", container, "sh", "-c", 'cat >"$0"', path, text=text)

    def up(self, *options: str) -> None:
        """Starts everything, with options of compose, and waits until all is healthy."""
        self.compose(*options, "up", "-d")
        until(lambda: not self.unhealthy(), "all services are healthy")

    def remove(self) -> None:
        """Takes everything away but the images."""
        profiles = [f"--profile={name}" for name in ("celery", "workers", "test")]
        self.compose(*profiles, "down", "-v", "--remove-orphans")

    def unhealthy(self) -> list[str]:
        """The services that are not healthy yet, among those that must go on running."""
        states = {name: one["State"] for name, one in self.containers().items()}
        return [
            name
            for name, state in states.items()
            if isinstance(state, dict)
            and state.get("Health", {}).get("Status") not in {None, "healthy"}
        ]

    def run(self, **conf: str) -> dict[str, str]:
        """Runs the DAG to its good end; returns the state of each task."""
        return self.ends_well(self.airflow.trigger(**conf))

    def ends_well(self, run: str) -> dict[str, str]:
        """Waits for a run; returns the state of each task."""
        state = self.airflow.wait(run, 1200)
        tasks = self.airflow.tasks(run)
        say("  " + ", ".join(f"{task} {end}" for task, end in tasks.items()))
        check(state == "success", f"{run} ended as success")
        return tasks

    def is_idle(self) -> bool:
        """Whether every run of the DAG has ended, also those that a delivery began."""
        runs = self.airflow.call("GET", f"{DAG}/dagRuns")["dag_runs"]
        return all(run["state"] in ENDED for run in runs)

    def task(self, run: str, task: str) -> dict[str, Any]:
        """What Airflow knows of one task of a run."""
        return self.airflow.call("GET", f"{DAG}/dagRuns/{run}/taskInstances/{task}")

    def in_the_middle(self, **conf: str) -> str:
        """Starts a run, by default of everything; returns its id in its long stage."""
        run = self.airflow.trigger(**(conf or {"dvc_force": "all"}))
        until(lambda: self.airflow.tasks(run).get(LONG_STAGE) == "running", f"{LONG_STAGE} runs")
        until(lambda: LONG_COMMAND in self.processes(), "its command runs")
        return run

    def train_long(self, *, long: bool = True) -> None:
        """Lets the long stage train for an hour, or as long as it should."""
        change = "cp params.yaml .params && sed -i"
        for name in ("n_estimators", "early_stopping_rounds"):
            change += f" -e '/^  xgboost:/,/^  neighbours:/s/{name}: .*/{name}: 1000000/'"
        change += " params.yaml"
        # The scheduler may be stopped; this one has the workspace, too.
        self.inside(PROCESSOR, "sh", "-c", change if long else "mv .params params.yaml")

    def processes(self) -> str:
        """The command lines of all that runs in the scheduler's container."""
        words = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
        return self.inside(SCHEDULER, "sh", "-c", words)

    def promoted(self) -> tuple[str, str]:
        """The version behind the alias, and its run, after a look at the run itself."""
        query = {"name": MODEL, "alias": "staging"}
        found = self.mlflow.get("/registered-models/alias", params=query).raise_for_status().json()
        version, run = found["model_version"]["version"], found["model_version"]["run_id"]
        answer = self.mlflow.get("/runs/get", params={"run_id": run}).raise_for_status()
        data = answer.json()["run"]["data"]
        tags = {tag["key"]: tag["value"] for tag in data["tags"]}
        check(tags.get("housing.complete") == "true", f"MLflow has the whole run {run}")
        check(any(m["key"] == "test_rmse" for m in data["metrics"]), "the run has its test_rmse")
        return str(version), str(run)

    def versions(self) -> int:
        """How many versions the registry has."""
        query = {"filter": f"name='{MODEL}'"}
        answer = self.mlflow.get("/model-versions/search", params=query).raise_for_status()
        return len(answer.json().get("model_versions", []))

"""Proves the compose stack on a real Docker engine: ``make stack-test``, not part of pytest.

Brings the stack up from nothing under a project name, secrets, ports and volumes of its own, and
takes everything down again but the images.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from housing.engine import graph
from housing.engine.airflow.task_ids import task_id_of
from scripts.run_once import AirflowApi

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "housing-stack-test"
MODEL = "housing-price"
SCHEDULER = "airflow-scheduler"
LONG_STAGE = "train_model.xgboost"
BEGIN = time.monotonic()


def say(text: str) -> None:
    """Prints a line with the seconds since the start."""
    print(f"[{time.monotonic() - BEGIN:6.1f} s] {text}", flush=True)


def check(holds: bool, fact: str) -> None:
    """Notes a fact that holds, or ends the test."""
    if not holds:
        raise AssertionError(fact)
    say(f"  ok: {fact}")


def until(holds: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Waits for something."""
    limit = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > limit:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.5)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Stack:
    """The services under test.

    Args:
        folder: Where the generated secrets are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.secrets = folder / "env"
        subprocess.run([ROOT / "scripts/secrets", self.secrets], check=True)
        lines = self.secrets.read_text().splitlines()
        password = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
        self.ports = {name: free_port() for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "FLOWER_PORT")}
        self.env = {name: str(port) for name, port in self.ports.items()}
        self.env |= {"HOUSING_RETRY_DELAY": "2"}
        url = f"http://127.0.0.1:{self.ports['AIRFLOW_PORT']}"
        self.airflow = AirflowApi(url, password["AIRFLOW_ADMIN_PASSWORD"])
        self.mlflow = httpx.Client(
            base_url=f"http://127.0.0.1:{self.ports['MLFLOW_PORT']}/api/2.0/mlflow", timeout=30
        )

    def compose(self, *arguments: str, secrets: Path | None = None) -> str:
        """Calls compose v2 where Docker has it, else docker-compose; returns what it printed."""
        v2 = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        command = ["docker-compose"] if v2.returncode else ["docker", "compose"]
        command += ["--env-file", str(secrets or self.secrets), "-p", PROJECT, *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(
                f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return done.stdout + done.stderr

    def containers(self) -> dict[str, Any]:
        """What Docker knows of each container, by service."""
        label = f"label=com.docker.compose.project={PROJECT}"
        ids = docker("ps", "-aq", "--filter", label).split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def inside(self, service: str, *command: str) -> str:
        """Runs a command in a service's container."""
        return docker("exec", self.containers()[service]["Id"], *command)

    def up(self) -> None:
        """Starts everything, and waits until all is healthy."""
        self.compose("up", "-d")
        until(lambda: not self.unhealthy(), "all services are healthy")

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
        state = self.airflow.wait(run, 900)
        tasks = self.airflow.tasks(run)
        say("  " + ", ".join(f"{task} {end}" for task, end in tasks.items()))
        check(state == "success", f"{run} ended as success")
        return tasks

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


def docker(*arguments: str) -> str:
    """Calls Docker; returns what it printed."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def verdicts(tasks: dict[str, str]) -> set[str]:
    """The states of the stages, of the gate and of the promotion."""
    stages = {task_id_of(stage.name) for stage in graph.load(ROOT).stages}
    return {tasks[task] for task in stages | {"validate_model", "promote_to_staging"}}


def refuses_without_secrets(stack: Stack) -> None:
    """No .env, no stack."""
    say("without secrets")
    empty = stack.secrets.with_name("empty")
    empty.touch()
    try:
        stack.compose("config", secrets=empty)
    except AssertionError as error:
        check("make secrets" in str(error), "compose refuses, and names `make secrets`")
    else:
        raise AssertionError("compose starts without secrets")


def comes_up(stack: Stack) -> None:
    """From nothing to healthy; closed to others."""
    say("building the image")
    stack.compose("build", "init")
    start = time.monotonic()
    stack.up()
    say(f"from nothing to healthy: {time.monotonic() - start:.0f} s")
    for name, one in stack.containers().items():
        bound = one["HostConfig"]["PortBindings"] or {}
        hosts = {place["HostIp"] for places in bound.values() for place in places}
        check(hosts <= {"127.0.0.1"}, f"{name}: on loopback only")
    check(stack.inside(SCHEDULER, "id", "-u").strip() != "0", "the stages do not run as root")
    url = f"http://127.0.0.1:{stack.ports['AIRFLOW_PORT']}/api/v2/dags"
    check(httpx.get(url, timeout=60).status_code == 401, "Airflow asks for a login")
    strange = stack.mlflow.get("/experiments/search", headers={"Host": "strange.example"})
    check(strange.status_code == 403, "MLflow refuses a strange host name")


def runs(stack: Stack) -> tuple[str, str]:
    """A first run does everything, a second one nothing; returns what was promoted."""
    say("the first run")
    stack.run()
    # A DAG that is no longer paused may start a run of its own before the one we asked for.
    tasks = stack.airflow.tasks(stack.airflow.runs()[0])
    check(verdicts(tasks) == {"success"}, "every stage ran, and the gate, and the promotion")
    check(tasks["send_failure_alert"] == "skipped", "nothing was to alert")
    promoted = stack.promoted()
    check(stack.versions() == 1, f"version {promoted[0]} of {MODEL} is registered as staging")
    say("the second run")
    check(verdicts(stack.run()) == {"skipped"}, "all unchanged: no stage ran, nothing to judge")
    check((stack.promoted(), stack.versions()) == (promoted, 1), "the same version is staging")
    return promoted


def in_the_middle(stack: Stack) -> str:
    """Starts a run that does everything, and returns its id in the middle of the long stage."""
    run = stack.airflow.trigger(force="all")
    until(lambda: stack.airflow.tasks(run).get(LONG_STAGE) == "running", f"{LONG_STAGE} runs")
    until(lambda: "train_model.py" in stack.inside(SCHEDULER, *PROCESSES), "its command runs")
    return run


PROCESSES = ("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")


def survives_a_crash(stack: Stack) -> None:
    """The scheduler's container dies in the middle of a stage, and comes back by itself."""
    say("killing the scheduler's container in the middle of a stage")
    run = in_the_middle(stack)
    # Every process but the first, at once: the container ends, and its restart policy applies.
    container = stack.containers()[SCHEDULER]["Id"]
    killed = datetime.now(UTC)
    subprocess.run(["docker", "exec", container, "sh", "-c", "kill -9 -1"], check=False)
    until(lambda: stack.containers()[SCHEDULER]["RestartCount"] == 1, "Docker restarts it")
    say("  the container was restarted")
    stack.ends_well(run)
    path = f"/dags/housing_ml_pipeline/dagRuns/{run}/taskInstances/{LONG_STAGE}"
    started = datetime.fromisoformat(stack.airflow.call("GET", path)["start_date"])
    check(started > killed, f"{LONG_STAGE} was started again")


def stops_gracefully(stack: Stack) -> None:
    """A stop ends the running stage at once and cleanly, and the run goes on afterwards."""
    say("stopping the scheduler in the middle of a stage")
    run = in_the_middle(stack)
    stack.compose("stop", SCHEDULER)
    state = stack.containers()[SCHEDULER]["State"]
    check(state["ExitCode"] == 0, "it ended cleanly, before Docker's patience did")
    check(
        stack.airflow.tasks(run)[LONG_STAGE] == "up_for_retry", "the stage waits for its next try"
    )
    stack.up()
    stack.ends_well(run)


def keeps_everything(stack: Stack, promoted: tuple[str, str]) -> None:
    """``down`` and ``up`` lose nothing."""
    say("taking everything down, and up again")
    before = stack.airflow.runs()
    stack.compose("down")
    check(not stack.containers(), "no container is left")
    start = time.monotonic()
    stack.up()
    say(f"from down to healthy: {time.monotonic() - start:.0f} s")
    check(before == stack.airflow.runs()[: len(before)], f"Airflow knows its {len(before)} runs")
    check(stack.promoted() == promoted, "MLflow knows the run and the alias")
    check(verdicts(stack.run()) == {"skipped"}, "DVC's cache and lock are there: all unchanged")


def main() -> int:
    """Runs every proof in turn."""
    if not shutil.which("docker"):
        sys.exit("there is no Docker on this machine")
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            refuses_without_secrets(stack)
            comes_up(stack)
            promoted = runs(stack)
            survives_a_crash(stack)
            stops_gracefully(stack)
            keeps_everything(stack, promoted)
            say("memory: " + docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"))
        except Exception:
            print(stack.compose("logs", "--no-color", "--tail=60"), file=sys.stderr)
            raise
        finally:
            stack.compose("--profile", "celery", "--profile", "test", "down", "-v")
    say("all done")
    return 0


if __name__ == "__main__":
    sys.exit(main())

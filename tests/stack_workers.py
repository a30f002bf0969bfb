"""The profile `workers`: two workers that share a network, a bucket and a git remote, no folder."""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx

from tests.stack_bucket import BUCKET
from tests.stack_services import (
    DAG,
    LONG_STAGE,
    PROJECT,
    ROOT,
    Stack,
    check,
    docker,
    free_port,
    say,
    stages,
    until,
)

SERVER = f"{PROJECT}-s3-server"
IMAGE = """
FROM python:3.12-slim-bookworm
RUN python3 -m venv /moto && /moto/bin/pip install --quiet 'moto[s3,server]>=5'
ENTRYPOINT ["sh", "-c", "exec /moto/bin/moto_server -H 0.0.0.0 -p 8333"]
"""
"""moto in the place of SeaweedFS, on its port. It knows no account, and makes no bucket."""
LINES = {
    "COMPOSE_PROFILES": "workers",
    "AIRFLOW_EXECUTOR": "CeleryExecutor",
    "HOUSING_WORKSPACE_KIND": "isolated",
    "COMPOSE_FILE": "docker-compose.yaml:docker/s3/compose.yaml:docker/remotes/compose.yaml",
    "BUCKET": BUCKET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "housing",
    "AWS_SECRET_ACCESS_KEY": "a long random word",
    "AWS_ENDPOINT_URL": "http://s3:8333",
}
"""As docs/workers.md says, for `.env`."""
WORKERS = ("airflow-worker-one", "airflow-worker-two")
AUTHOR = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")


def runs_on_workers_without_a_folder(stack: Stack) -> None:
    """A cold run on both, its `dvc.lock` as a commit, and a second run that does nothing."""
    say("running the stages on workers that share no folder")
    docker("build", "-q", "-t", SERVER, "-", text=IMAGE)
    stack.compose("down")
    port = free_port()
    stack.env |= {**LINES, "S3_IMAGE": SERVER, "S3_PORT": str(port)}
    stack.compose("up", "-d", "git", "s3")
    until(lambda: not stack.unhealthy(), "the remotes answer")
    httpx.put(f"http://127.0.0.1:{port}/{BUCKET}", timeout=60).raise_for_status()
    clone = _Clone(stack)
    first = clone.push_project()
    stack.up()
    mounts = [{m["Name"] for m in stack.containers()[name]["Mounts"]} for name in WORKERS]
    check(all(mounts) and not mounts[0] & mounts[1], "the workers have no volume in common")
    until(lambda: _version(stack) == first, "Airflow has the commit")
    run = stack.airflow.trigger()
    tasks = stack.ends_well(run)
    records = _records(stack, run)
    check({record["state"] for record in records} == {"ran"}, f"{len(records)} stages ran")
    hosts = {record["host"] for record in records}
    names = {stack.containers()[name]["Config"]["Hostname"] for name in WORKERS}
    check(hosts == names, "some on one worker, some on the other")
    check(tasks["promote_to_staging"] == "success", "the gate passed the model")
    _log_is_read(stack, run)
    second = clone.pull()
    check(second != first, "dvc.lock is a commit of the branch")
    until(lambda: _version(stack) == second, "Airflow has that commit")
    run = stack.airflow.trigger()
    stack.ends_well(run)
    records = _records(stack, run)
    check({record["state"] for record in records} == {"unchanged"}, "the second run did nothing")
    moved = sum(record["fetched"] + record["pushed"] for record in records)
    check(moved == 0, "and moved no byte")


class _Clone:
    """A person's checkout, and the way to the stack's git remote that docs/workers.md names."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._folder = stack.folder / "clone"
        self._remote = f"ext::{' '.join(stack.command)} exec -T git %S /git/housing.git"

    def _git(self, *arguments: str) -> str:
        allowed = ("-c", "protocol.ext.allow=always", *AUTHOR)
        return self._stack.call("git", "-C", self._folder, *allowed, *arguments).strip()

    def push_project(self) -> str:
        """Pushes this project without any result, with the bucket as DVC's remote."""
        self._stack.call("git", "clone", "--quiet", ROOT, self._folder)
        dvc = (sys.executable, "-m", "dvc", "--cd", self._folder)
        self._stack.call(*dvc, "remote", "add", "--default", "s3", f"s3://{BUCKET}/dvc")
        self._git("rm", "--quiet", "dvc.lock")
        self._git("commit", "--quiet", "--all", "--message", "Use the bucket")
        self._git("push", "--quiet", self._remote, "HEAD:refs/heads/main")
        return self._git("rev-parse", "HEAD")

    def pull(self) -> str:
        """Takes over what the run committed; returns the commit."""
        self._git("pull", "--quiet", self._remote, "main")
        changed = self._git("show", "--format=%an", "--name-only")
        check(changed.split() == ["Airflow", "dvc.lock"], "Airflow committed dvc.lock alone")
        return self._git("rev-parse", "HEAD")


def _version(stack: Stack) -> str | None:
    """The commit of the DAG that Airflow knows."""
    version: str | None = stack.airflow.call("GET", DAG)["bundle_version"]
    return version


def _records(stack: Stack, run: str) -> list[dict[str, Any]]:
    """What each stage's task left in XCom."""
    tasks = f"{DAG}/dagRuns/{run}/taskInstances"
    entry = "xcomEntries/return_value?deserialize=true"
    return [stack.airflow.call("GET", f"{tasks}/{one}/{entry}")["value"] for one in stages()]


def _log_is_read(stack: Stack, run: str) -> None:
    """The API server shows a log of a worker whose disk it does not see."""
    path = f"{DAG}/dagRuns/{run}/taskInstances/{LONG_STAGE}/logs/1?full_content=true"
    log = json.dumps(stack.airflow.call("GET", path))
    check("dvc repro" in log, f"the log of {LONG_STAGE} is shown")

"""The profile `celery`: the same stages, on two workers that share the workspace."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import httpx

from tests.stack_services import DAG, PROJECT, SCHEDULER, Stack, check, docker, say

LINES = "COMPOSE_PROFILES=celery\nAIRFLOW_EXECUTOR=CeleryExecutor\n"
"""As docs/stack.md says, for `.env`."""


def runs_on_celery(stack: Stack) -> None:
    """Down, two lines in `.env`, up; and up once more changes nothing."""
    say("running the stages on Celery workers")
    stack.compose("down")
    with stack.secrets.open("a") as file:
        file.write(LINES)
    stack.up("--env-file", str(stack.secrets))
    workers = _workers()
    check(len(workers) == 2, "two workers are there")
    before = {name: one["Id"] for name, one in stack.containers().items()}
    stack.up("--env-file", str(stack.secrets))
    after = {name: one["Id"] for name, one in stack.containers().items()}
    after["init"] = before["init"]
    check(after == before, "once more: each service is the one from before")
    environment = stack.containers()[SCHEDULER]["Config"]["Env"]
    check("AIRFLOW__CORE__EXECUTOR=CeleryExecutor" in environment, "it sends tasks to workers")
    run = stack.airflow.trigger(dvc_force="all")
    stack.ends_well(run)
    tasks = stack.airflow.call("GET", f"{DAG}/dagRuns/{run}/taskInstances")["task_instances"]
    used = {task["hostname"] for task in tasks if task["state"] == "success"}
    check(bool(used) and used <= workers, f"{len(used)} of the two workers did it all")
    _flower(stack)
    _no_password_is_seen(stack)
    stack.compose("--profile", "celery", "down")


def _workers() -> set[str]:
    """The host names of the workers, which are their containers' ids."""
    labels = (f"project={PROJECT}", "service=airflow-worker")
    filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
    return set(docker("ps", "-q", *filters).split())


def _flower(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.ports['FLOWER_PORT']}"
    password = stack.password["AIRFLOW_ADMIN_PASSWORD"]
    for login, code in ((None, 401), (("admin", "a guess"), 401), (("admin", password), 200)):
        got = httpx.get(f"{url}/workers", auth=login, timeout=60).status_code
        who = "the admin" if code == httpx.codes.OK else "a stranger"
        check(got == code, f"Flower answers {got} to {who}")
    for path in ("healthcheck", "metrics"):
        check(httpx.get(f"{url}/{path}", timeout=60).is_success, f"/{path} asks for no password")


def _no_password_is_seen(stack: Stack) -> None:
    """Every user of the machine sees the arguments of every process, also in containers."""
    seen = ""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended
            seen += file.read_text(errors="replace")
    known = [name for name, value in stack.password.items() if value in seen]
    check(known == [], f"no password is among the arguments of a process: {known}")

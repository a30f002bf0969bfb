"""Proves the compose stack on a real Docker engine: ``make stack-test``, not part of pytest.

Brings the stack up from nothing under a project name, secrets, ports and volumes of its own, and
takes everything down again but the images.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from housing.engine import graph
from housing.engine.airflow.task_ids import task_id_of
from tests.stack_attacks import changed_model_is_refused, mlflow_is_closed, stages_have_no_key
from tests.stack_care import (
    comes_back_from_a_backup,
    is_upgraded,
    sends_telemetry,
    stays_tidy,
    takes_a_delivery,
)
from tests.stack_services import (
    API,
    LONG_STAGE,
    MODEL,
    ROOT,
    SCHEDULER,
    Stack,
    check,
    docker,
    say,
    until,
)
from tests.stack_tls import opens_by_tls

OUTAGE = 90.0
"""Seconds for which the API server is away. Airflow's defaults give up after about 30."""
MAX_LATE_STOPS = 5
"""On a busy machine a stop may take longer to reach the scheduler than the stage takes."""


def verdicts(tasks: dict[str, str]) -> set[str]:
    """The states of the stages, of the gate and of the promotion."""
    stages = {task_id_of(stage.name) for stage in graph.load(ROOT).stages}
    return {tasks[task] for task in stages | {"validate_model", "promote_to_staging"}}


def refuses_without_secrets(stack: Stack) -> None:
    """No .env, no stack."""
    say("without secrets")
    none = dict.fromkeys(stack.password, "")
    try:
        stack.compose("config", **none)
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
    first = stack.airflow.runs()[0]
    tasks = stack.airflow.tasks(first)
    check(verdicts(tasks) == {"success"}, "every stage ran, and the gate, and the promotion")
    check(tasks["send_failure_alert"] == "skipped", "nothing was to alert")
    tries = {stack.task(first, task)["try_number"] for task in tasks if tasks[task] == "success"}
    check(tries == {1}, "each task at its first try: healthy means ready")
    promoted = stack.promoted()
    check(stack.versions() == 1, f"version {promoted[0]} of {MODEL} is registered as staging")
    say("the second run")
    check(verdicts(stack.run()) == {"skipped"}, "all unchanged: no stage ran, nothing to judge")
    check((stack.promoted(), stack.versions()) == (promoted, 1), "the same version is staging")
    return promoted


def survives_a_crash(stack: Stack) -> None:
    """The scheduler's container dies in the middle of a stage, and comes back by itself."""
    say("killing the scheduler's container in the middle of a stage")
    run = stack.in_the_middle()
    # Every process but the first, at once: the container ends, and its restart policy applies.
    container = stack.containers()[SCHEDULER]["Id"]
    killed = datetime.now(UTC)
    subprocess.run(["docker", "exec", container, "sh", "-c", "kill -9 -1"], check=False)
    until(lambda: stack.containers()[SCHEDULER]["RestartCount"] == 1, "Docker restarts it")
    say("  the container was restarted")
    stack.ends_well(run)
    started = datetime.fromisoformat(stack.task(run, LONG_STAGE)["start_date"])
    check(started > killed, f"{LONG_STAGE} was started again")


def survives_an_outage(stack: Stack) -> None:
    """Without its API server for longer than a stage takes, no stage is killed or lost."""
    say(f"stopping the API server for {OUTAGE:.0f} s in the middle of a stage")
    run = stack.in_the_middle()
    stack.compose("stop", API)
    time.sleep(OUTAGE)
    stack.up()
    stack.ends_well(run)
    check(stack.task(run, LONG_STAGE)["try_number"] == 1, "the stage ended at its first try")


def stops_gracefully(stack: Stack) -> None:
    """A stop ends the running stage at once and cleanly, and the run goes on afterwards."""
    say("stopping the scheduler in the middle of a stage")
    for _ in range(MAX_LATE_STOPS):
        run = stack.in_the_middle()
        stack.compose("stop", SCHEDULER)
        state = stack.containers()[SCHEDULER]["State"]
        check(state["ExitCode"] == 0, "it ended cleanly, before Docker's patience did")
        waits = stack.airflow.tasks(run)[LONG_STAGE]
        stack.up()
        stack.ends_well(run)
        if waits != "success":
            break
        say("  the stage had ended before the stop reached it: once more")
    check(waits == "up_for_retry", f"the stage waited for its next try: {waits}")


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


def proofs(stack: Stack) -> None:
    """Everything in turn: what comes later builds on the runs before."""
    refuses_without_secrets(stack)
    comes_up(stack)
    promoted = runs(stack)
    mlflow_is_closed(stack, promoted)
    changed_model_is_refused(stack, promoted)
    stages_have_no_key(stack)
    survives_a_crash(stack)
    survives_an_outage(stack)
    stops_gracefully(stack)
    keeps_everything(stack, promoted)
    stays_tidy(stack)
    comes_back_from_a_backup(stack, promoted)
    is_upgraded(stack)
    takes_a_delivery(stack)
    sends_telemetry(stack)
    opens_by_tls(stack)
    say("memory: " + docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"))


def main() -> int:
    """Runs every proof in turn."""
    if not shutil.which("docker"):
        sys.exit("there is no Docker on this machine")
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            proofs(stack)
        except Exception:
            print(stack.compose("logs", "--no-color", "--tail=60"), file=sys.stderr)
            raise
        finally:
            stack.compose("--profile", "celery", "--profile", "test", "down", "-v")
    say("all done")
    return 0


if __name__ == "__main__":
    sys.exit(main())

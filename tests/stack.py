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

from tests.stack_attacks import changed_model_is_refused, mlflow_is_closed, stage_has_no_key
from tests.stack_bucket import keeps_in_a_bucket
from tests.stack_care import (
    comes_back_from_a_backup,
    is_upgraded,
    sends_telemetry,
    stays_tidy,
    takes_a_delivery,
)
from tests.stack_celery import runs_on_celery
from tests.stack_chart import fits_the_chart
from tests.stack_services import (
    API,
    LONG_STAGE,
    MODEL,
    SCHEDULER,
    Stack,
    busy_cores,
    check,
    docker,
    load,
    say,
    stages,
    until,
)
from tests.stack_tls import opens_by_tls
from tests.stack_workers import runs_on_workers_without_a_folder

STAGE = "train_model@xgboost"
"""The long stage, as DVC names it."""
OUTAGE = 90.0
"""Seconds for which the API server is away. Airflow's defaults give up after about 30."""


def verdicts(tasks: dict[str, str]) -> set[str]:
    """The states of the stages, of the gate and of the promotion."""
    return {tasks[task] for task in stages() | {"validate_model", "promote_to_staging"}}


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
    say(f"from nothing to healthy: {time.monotonic() - start:.0f} s {load()}")
    for name, one in stack.containers().items():
        bound = one["HostConfig"]["PortBindings"] or {}
        hosts = {place["HostIp"] for places in bound.values() for place in places}
        check(hosts <= {"127.0.0.1"}, f"{name}: on loopback only")
    check(stack.inside(SCHEDULER, "id", "-u").strip() != "0", "the stages do not run as root")
    useless = stack.inside(
        SCHEDULER, "sh", "-c", "find /opt/venv -name tests; python -m pip -V; true"
    )
    check(useless == "", "the image has no test folders and no pip")
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
    shows_the_dashboard(stack)
    say("the second run")
    check(verdicts(stack.run()) == {"skipped"}, "all unchanged: no stage ran, nothing to judge")
    check((stack.promoted(), stack.versions()) == (promoted, 1), "the same version is staging")
    return promoted


def shows_the_dashboard(stack: Stack) -> None:
    """The tab *Housing*, of the plugins folder, with the page of the run."""
    plugins = {plugin["name"] for plugin in stack.airflow.call("GET", "/plugins")["plugins"]}
    check("housing_dashboard" in plugins, "Airflow has the tab Housing")
    login = {"username": "admin", "password": stack.password["AIRFLOW_ADMIN_PASSWORD"]}
    url = f"http://127.0.0.1:{stack.ports['AIRFLOW_PORT']}"
    page = f"{url}/housing-dashboard/"
    check(httpx.get(page, timeout=60).status_code == 401, "its page asks for a login")
    token = httpx.post(f"{url}/auth/token", json=login, timeout=60).raise_for_status().json()
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    shown = httpx.get(page, headers=bearer, timeout=60).raise_for_status().text
    check(MODEL in shown, "its page shows the model")


def survives_a_crash(stack: Stack) -> None:
    """The scheduler's container dies in the middle of a stage, and comes back by itself."""
    say("killing the scheduler's container in the middle of a stage")
    run = stack.in_the_middle()
    stage_has_no_key(stack)
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


def stops_gracefully(stack: Stack, times: int) -> None:
    """A stop ends the running stage at once and cleanly, and the run goes on afterwards."""
    with busy_cores():
        for which in range(1, times + 1):
            say(f"stopping the scheduler in the middle of a stage, all cores busy: {which}")
            _stop_in_the_middle(stack)


def _stop_in_the_middle(stack: Stack) -> None:
    """The stage would take an hour: it cannot end by itself before the stop reaches it."""
    until(stack.is_idle, "no other run is under way")
    stack.train_long()
    run = stack.in_the_middle(dvc_stage=STAGE, dvc_scope="only", dvc_force=STAGE)
    stack.compose("stop", SCHEDULER)
    code = stack.containers()[SCHEDULER]["State"]["ExitCode"]
    check(code == 0, f"it ended cleanly, before Docker's patience did: {code}")
    waits = stack.task(run, LONG_STAGE)
    stack.train_long(long=False)
    check(waits["state"] == "up_for_retry", f"the stage waits for its next try: {waits['state']}")
    stack.compose("start", SCHEDULER)
    until(lambda: not stack.unhealthy(), "the scheduler is back")
    stack.ends_well(run)
    tries = stack.task(run, LONG_STAGE)["try_number"]
    check(tries == waits["try_number"] + 1 == 2, f"the stop cost the stage one try: {tries}")


def keeps_everything(stack: Stack, promoted: tuple[str, str]) -> None:
    """``down`` and ``up`` lose nothing."""
    say("taking everything down, and up again")
    before = stack.airflow.runs()
    stack.compose("down")
    check(not stack.containers(), "no container is left")
    start = time.monotonic()
    stack.up()
    say(f"from down to healthy: {time.monotonic() - start:.0f} s {load()}")
    check(before == stack.airflow.runs()[: len(before)], f"Airflow knows its {len(before)} runs")
    check(stack.promoted() == promoted, "MLflow knows the run and the alias")
    check(verdicts(stack.run()) == {"skipped"}, "DVC's cache and lock are there: all unchanged")


def proofs(stack: Stack, stops: int) -> None:
    """Everything in turn: what comes later builds on the runs before."""
    refuses_without_secrets(stack)
    comes_up(stack)
    promoted = runs(stack)
    mlflow_is_closed(stack, promoted)
    changed_model_is_refused(stack, promoted)
    survives_a_crash(stack)
    survives_an_outage(stack)
    stops_gracefully(stack, stops)
    keeps_everything(stack, promoted)
    stays_tidy(stack)
    comes_back_from_a_backup(stack, promoted)
    is_upgraded(stack)
    takes_a_delivery(stack)
    fits_the_chart(stack)
    with sends_telemetry(stack):
        keeps_in_a_bucket(stack)
    opens_by_tls(stack)
    runs_on_celery(stack)
    runs_on_workers_without_a_folder(stack)
    say("memory: " + docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"))


def main() -> int:
    """Runs every proof in turn, that of the stop as often as the argument says."""
    stops = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    if not shutil.which("docker"):
        sys.exit("there is no Docker on this machine")
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            proofs(stack, stops)
        except Exception:
            print(stack.compose("logs", "--no-color", "--tail=60"), file=sys.stderr)
            raise
        finally:
            stack.remove()
    say("all done")
    return 0


if __name__ == "__main__":
    sys.exit(main())

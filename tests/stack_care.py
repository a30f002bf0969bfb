"""What whoever runs the stack does to it: deliver, tidy up, back up, restore, upgrade."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.stack_services import MODEL, PROJECT, ROOT, SCHEDULER, Stack, check, docker, say, until

NEXT_IMAGE = f"{PROJECT}-next"
NEXT = """
FROM housing
USER root
RUN echo '# the next version' >>/opt/housing/housing/domain/model.py
RUN echo next >/opt/housing.sha256
USER 50000:0
"""
"""The image after a change of the code that the trainings depend on."""

COLLECTOR = f"{PROJECT}-collector"
COLLECT = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("", 4318), Handler).serve_forever()
"""
"""Stands in for an OpenTelemetry collector: its log has a line for each request."""


def stays_tidy(stack: Stack) -> None:
    """The daily work of `maintenance`, and DVC's own by hand."""
    say("tidying up")
    oldest, *before = stack.airflow.runs()
    _make_old(stack, oldest)
    stack.inside(SCHEDULER, "sh", "-c", "touch -d '90 days ago' /airflow/logs/old.log")
    stack.compose("run", "--rm", "--no-deps", "maintenance", "bash", "/opt/housing/docker/tidy.sh")
    left = stack.inside(SCHEDULER, "ls", "/airflow/logs")
    check("old.log" not in left, "a log of 90 days ago is gone")
    check(stack.airflow.runs() == before, "a run of 90 days ago is gone, those of today are kept")
    folder = "/workspace/.dvc/cache/files/md5/00"
    garbage = f"{folder}/0123456789abcdef0123456789abcd"
    stack.inside(SCHEDULER, "sh", "-c", f"mkdir -p {folder} && touch {garbage}")
    stack.call(ROOT / "scripts/tidy-cache")
    until(lambda: not stack.unhealthy(), "all services are healthy again")
    seen = stack.inside(SCHEDULER, "sh", "-c", f"ls {garbage} 2>&1; true")
    check("No such file" in seen, "what nothing in the workspace names has left the cache")
    tasks = stack.run()
    check(tasks["ingest_data"] == "skipped", "after `dvc gc` all is unchanged")


def _make_old(stack: Stack, run: str) -> None:
    dates = ("logical_date", "queued_at", "start_date", "end_date", "run_after")
    earlier = ", ".join(f"{date} = {date} - interval '90 days'" for date in dates)
    change = f"UPDATE dag_run SET {earlier} WHERE run_id = '{run}'"
    stack.inside("postgres", "psql", "-q", "-U", "postgres", "-d", "airflow", "-c", change)


def comes_back_from_a_backup(stack: Stack, promoted: tuple[str, str]) -> None:
    """Back up, lose every volume, restore: the same runs, models and outs."""
    say("backing up")
    folder = stack.folder / "backup"
    before = stack.airflow.runs()
    stack.call(ROOT / "scripts/backup", folder)
    until(lambda: not stack.unhealthy(), "all services are healthy again")
    try:
        stack.call(ROOT / "scripts/restore", folder)
    except AssertionError as error:
        check("stack-down" in str(error), "a restore into a running stack is refused")
    else:
        raise AssertionError("a restore into a running stack went ahead")
    say("losing every volume, and restoring")
    stack.compose("down", "-v")
    stack.call(ROOT / "scripts/restore", folder)
    running = {name for name, one in stack.containers().items() if one["State"]["Running"]}
    check(running <= {"postgres"}, "nothing runs before all is restored")
    stack.up()
    check(stack.airflow.runs() == before, f"Airflow knows its {len(before)} runs and no other")
    check(stack.promoted() == promoted, "MLflow knows the run and the alias")
    tasks = stack.run()
    check(tasks["ingest_data"] == "skipped", "DVC's cache and lock are back: all unchanged")


def is_upgraded(stack: Stack) -> None:
    """New code waits for the end of the old scheduler; afterwards it is what ran."""
    say("upgrading in the middle of a stage")
    docker("build", "-q", "-t", NEXT_IMAGE, "-", text=NEXT)
    run = stack.in_the_middle()
    try:
        stack.compose("up", "-d", HOUSING_IMAGE=NEXT_IMAGE)
    except AssertionError:
        told = stack.compose("logs", "--no-color", "--tail=5", "init")
        check("make stack-down" in told, "init refuses, and says what to type")
    else:
        raise AssertionError("init replaced the code under a running stage")
    model = stack.inside(SCHEDULER, "tail", "-n", "1", "/workspace/housing/domain/model.py")
    check("next version" not in model, "the workspace has its old code")
    say("upgrading as documented")
    stack.compose("down")
    stack.env["HOUSING_IMAGE"] = NEXT_IMAGE
    stack.up()
    model = stack.inside(SCHEDULER, "tail", "-n", "1", "/workspace/housing/domain/model.py")
    check("next version" in model, "the workspace has the new code")
    stack.ends_well(run)
    stack.run()  # the training may have ended before the stack went down: this one is of new code
    lock = stack.inside(SCHEDULER, "cat", "/workspace/dvc.lock")
    new = stack.inside(SCHEDULER, "md5sum", "/workspace/housing/domain/model.py").split()[0]
    found = set(re.findall(r"housing/domain/model\.py\n\s+hash: md5\n\s+md5: (\w+)", lock))
    check(found == {new}, "dvc.lock holds the new code, and no other")


def takes_a_delivery(stack: Stack) -> None:
    """A file from outside is delivered, and starts a run by itself."""
    say("delivering a file")
    versions = stack.versions()
    first = sorted((ROOT / "data/landing").glob("*.csv"))[0]
    text = "".join(first.read_text().splitlines(keepends=True)[:501])
    before = stack.airflow.runs()
    file = stack.folder / "delivery.csv"
    file.write_text(text)
    stack.call("make", "-s", "stack-deliver", f"FILE={file}")
    until(lambda: len(stack.airflow.runs()) > len(before), "a run begins by itself")
    tasks = stack.ends_well(stack.airflow.runs()[-1])
    check(tasks["ingest_data"] == "success", "the delivery was ingested")
    say(f"  {stack.versions() - versions} more version(s) of {MODEL}")


@contextmanager
def sends_telemetry(stack: Stack) -> Iterator[None]:
    """Metrics and traces of what runs meanwhile arrive where `.env` says."""
    say("collecting metrics and traces")
    server = ("-d", "--name", COLLECTOR, "--network", f"{PROJECT}_airflow", "housing")
    docker("run", *server, "python", "-u", "-c", COLLECT)
    stack.env |= {
        "HOUSING_TELEMETRY": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{COLLECTOR}:4318",
    }
    try:
        yield
        for kind in ("metrics", "traces"):
            until(partial(arrived, kind), f"{kind} arrive")
            say(f"  ok: {kind} arrive at the collector")
    finally:
        stack.env["HOUSING_TELEMETRY"] = "False"
        docker("rm", "-f", COLLECTOR)


def arrived(kind: str) -> bool:
    """Whether the collector got something of this kind."""
    done = subprocess.run(["docker", "logs", COLLECTOR], capture_output=True, text=True, check=True)
    return f"POST /v1/{kind}" in done.stdout + done.stderr

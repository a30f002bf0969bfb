"""Three repositories of other teams through a real scheduler, in every way that runs go.

Usage: ``make foreign-test``, or ``PYTHONPATH=benchmarks uv run python -m tests.foreign_scheduler
[NAME ...]`` for some of the three.

Each repository of `tests.foreign_repositories` is a DAG; all three run side by side under one
Airflow with its LocalExecutor. After each run the states of all stages, the plan before it, and in
the end every out are compared: with what was expected, and with a plain ``dvc repro`` of the same
files. Two DAGs over one repository, joined by the outs, follow. The suite has a short form in
``test_foreign.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from real_airflow import Airflow, airflow

from housing.engine.airflow.task_ids import task_id_of
from tests.foreign_repositories import FAILED, REPOSITORIES, Repository

DAG = """
from datetime import UTC, datetime, timedelta
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from housing.engine import DvcDag, DvcTaskGroup, upstream_assets

HOW = dict(start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False,
           default_args={{"retries": 1, "retry_delay": timedelta(seconds=1)}})
with DAG({name!r}, schedule=None, params={{"stage": "my own"}}, **HOW):
    group = DvcTaskGroup("stages", root={root!r}, name="whole-" + {name!r})
    # These act after a run and never after a plan, whatever their rules are.
    group.ended_before(EmptyOperator(task_id="always", trigger_rule="all_done"))
    group >> EmptyOperator(task_id="good", trigger_rule="none_failed")
"""
PARTS = """
first = DvcDag("first", root={root!r}, select=["etl/dvc.yaml"], schedule=None, **HOW)
part = dict(root={root!r}, select=["fit/dvc.yaml", "fit/rows.csv.dvc"])
second = DvcDag("second", **part, schedule=upstream_assets(**part), **HOW)
"""
ENDED = {"success", "failed"}
LIMIT = 600
AFTER = ("always", "good")


def until(ready: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever was waited for
    """Asks until there is an answer."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError, KeyError):  # the machine is busy
            found = ready()
            if found:
                return found
        time.sleep(0.3)
    sys.exit("waited for too long")


class Runs:
    """The runs of one DAG."""

    def __init__(self, services: Airflow, dag: str) -> None:
        self._client = services.client
        self._url = f"/api/v2/dags/{dag}/dagRuns"
        self._dag = dag

    def start(self, **conf: object) -> str:
        """Starts a run; returns its id."""
        body = {"logical_date": None, "conf": conf}
        answer = until(lambda: self._client.post(self._url, json=body).json().get("dag_run_id"))
        return str(answer)

    def newest(self) -> str:
        """The id of the newest run, which something else starts."""
        found = until(
            lambda: self._client.get(self._url, params={"order_by": "-id"}).json()["dag_runs"]
        )
        return str(found[0]["dag_run_id"])

    def end(self, run: str) -> str:
        """Waits for the end of a run; returns its state."""
        state = until(
            lambda: (s := self._client.get(f"{self._url}/{run}").json()["state"]) in ENDED and s
        )
        return str(state)

    def states(self, run: str) -> dict[str, str]:
        """What became of each task: the state in its record, else Airflow's."""
        url = f"{self._url}/{run}/taskInstances"
        tasks = until(lambda: self._client.get(url, params={"limit": 100}).json()["task_instances"])
        return {task["task_id"]: self._state(url, task) for task in tasks}

    def _state(self, url: str, task: dict[str, Any]) -> str:
        record = self.xcom(url, task["task_id"])
        return str(record.get("state") or record.get("action") or task["state"])

    def xcom(self, url: str, task_id: str) -> dict[str, Any]:
        """What a task returned, or nothing."""
        answer = self._client.get(f"{url}/{task_id}/xcomEntries/return_value")
        value = answer.json().get("value") if answer.status_code == httpx.codes.OK else None
        value = json.loads(value) if isinstance(value, str) else value
        return value if isinstance(value, dict) else {}


class Trial:
    """What happens to one repository."""

    def __init__(self, services: Airflow, root: Path, repository: Repository) -> None:
        self._scheduler = services.scheduler
        self._runs = Runs(services, root.name)
        self._root = root
        self._repository = repository
        self.faults: list[str] = []

    def run(self) -> None:
        """All runs, one after the other."""
        root, made = self._root, self._repository
        self._step("cold")
        self._step("unchanged")
        made.changed(root)
        self._plan()
        self._step("changed")
        made.broken(root)
        self._step("failing", state=FAILED)
        made.changed(root)  # as before; what the failed stages removed comes from the cache
        self._step("mended")
        self._step("forced", dvc_stage=made.forced, dvc_scope="only", dvc_force=made.forced)
        before = (root / made.last_out).read_bytes()
        self._step("overridden", dvc_overrides=[made.override])
        self._expect("the out after overrides", (root / made.last_out).read_bytes(), before)
        self._kill()
        self._compare_with_dvc()

    def _step(self, name: str, state: str = "success", **conf: object) -> None:
        began = time.monotonic()
        run = self._runs.start(**conf)
        self._expect(f"{name}, the run", self._runs.end(run), state)
        found = self._runs.states(run)
        wanted = {task_id_of(s): w for s, w in self._repository.states[name].items()}
        if "dvc_scope" in conf:
            wanted = {task: w if w == "ran" else "skipped" for task, w in wanted.items()}
        wanted["always"] = "success"
        wanted["good"] = "success" if state == "success" else "upstream_failed"
        self._expect(name, found, wanted)
        self._tell(f"{name}, {time.monotonic() - began:.0f} s")

    def _plan(self) -> None:
        """The plan must say of each stage what the next run does, and must do nothing."""
        before = self._written()
        run = self._runs.start(dvc_plan=True)
        self._expect("the plan", self._runs.end(run), "success")
        self._expect("what a plan writes", self._written(), before)
        found = self._runs.states(run)
        self._expect("what comes after a plan", {found.pop(name) for name in AFTER}, {"skipped"})
        wanted = self._repository.states["changed"]
        for stage, state in wanted.items():
            action = found[task_id_of(stage)]
            if (state == "ran") != (action in {"run", "may run"}):
                self._expect(f"the plan of {stage}", action, state)
        self._tell("planned")

    def _kill(self) -> None:
        """Kills the task of a running stage with all that it runs: Airflow tries it again."""
        stage = next(s for s, w in self._repository.states["killed"].items() if w == "ran")
        (self._root / "slow").touch()
        run = self._runs.start(dvc_force=stage)
        victim = until(self._task)
        for process in [victim, *victim.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        (self._root / "slow").unlink()
        self._expect("killed, the run", self._runs.end(run), "success")
        wanted = {task_id_of(s): w for s, w in self._repository.states["killed"].items()}
        self._expect("killed", self._runs.states(run), wanted | dict.fromkeys(AFTER, "success"))
        left = [*self._root.glob(".housing/workspaces/*/copy")]
        self._expect("copies of runs with overrides that are over", left, [])
        self._tell("killed")

    def _task(self) -> psutil.Process | None:
        """The process of the task that runs a stage of this repository."""
        for process in psutil.Process(self._scheduler).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                waits = "supervise.py" in " ".join(process.cmdline())
                if waits and Path(process.cwd()).is_relative_to(self._root):
                    parent = process.parent()
                    if parent and "supervise.py" not in " ".join(parent.cmdline()):
                        return parent
        return None

    def _written(self) -> dict[str, bytes]:
        kept = (self._root / ".dvc/tmp", self._root / ".git")
        files = [path for path in self._root.rglob("*") if path.is_file()]
        return {
            str(path): path.read_bytes()
            for path in files
            if not any(path.is_relative_to(folder) for folder in kept)
        }

    def _compare_with_dvc(self) -> None:
        """A plain ``dvc repro`` of a copy without outs makes the same ``dvc.lock`` files."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self._root.name
            hidden = shutil.ignore_patterns("tmp", "cache", "dvc.lock", ".housing")
            shutil.copytree(self._root, copy, ignore=hidden)
            shutil.copytree(self._root / ".dvc/cache/files", copy / ".dvc/cache/files")
            command = [
                sys.executable,
                "-m",
                "dvc",
                "repro",
                "--quiet",
                "--force",
                "--all-pipelines",
            ]
            subprocess.run(command, cwd=copy, check=True)
            for lock in sorted(self._root.rglob("dvc.lock")):
                other = copy / lock.relative_to(self._root)
                if ".housing" not in lock.parts:
                    ours, theirs = (yaml.safe_load(path.read_text()) for path in (lock, other))
                    self._expect(str(lock.relative_to(self._root)), ours, theirs)
        status = ["git", "status", "--porcelain", "--", ".housing"]
        done = subprocess.run(status, cwd=self._root, capture_output=True, check=True)
        self._expect("what git sees of workspaces", done.stdout, b"")
        self._tell("all of it as a plain dvc repro makes it")

    def _expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.faults.append(f"{self._root.name}: {what}: {found}, expected {wanted}")
            self._tell(f"FAULT {self.faults[-1]}")

    def _tell(self, what: str) -> None:
        print(f"{self._root.name}: {what}", flush=True)


def parts(services: Airflow, root: Path) -> Iterator[str]:
    """Runs the first of two DAGs over one repository, which starts the second; yields faults."""
    first, second = Runs(services, "first"), Runs(services, "second")
    (root / "shared/raw.csv").write_text("c\nd\n")
    run = first.start()
    if first.end(run) != "success" or first.states(run) != {
        "etl..2f.dvc..2e.yaml..3a.clean": "ran"
    }:
        yield f"first: {first.states(run)}"
    run = second.newest()
    if second.end(run) != "success" or set(second.states(run).values()) != {"ran"}:
        yield f"second: {second.states(run)}"
    print("mono: the second of two DAGs followed the first", flush=True)


def main(names: list[str]) -> int:
    """Runs these repositories; returns the exit code."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder) / "p"
        (place / "dags").mkdir(parents=True)
        for name in names:
            root = place / "repositories" / name
            REPOSITORIES[name].make(root)
            text = DAG.format(name=name, root=str(root))
            text += PARTS.format(root=str(root)) if name == "mono" else ""
            (place / "dags" / f"{name}_dag.py").write_text(text)
        os.environ["DVC_SITE_CACHE_DIR"] = str(place / "site")
        with airflow(place, set(names)) as services:
            trials = [
                Trial(services, place / "repositories" / name, REPOSITORIES[name]) for name in names
            ]
            with ThreadPoolExecutor() as pool:
                list(pool.map(Trial.run, trials))
            faults = [fault for trial in trials for fault in trial.faults]
            faults += parts(services, place / "repositories" / "mono") if "mono" in names else ()
    print("\n".join(faults) or "all as expected")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(REPOSITORIES)))

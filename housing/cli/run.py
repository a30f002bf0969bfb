"""``housing run``: the DAG once, through real Airflow task runs, and what it did."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Self

from rich.console import Console

from housing.cli.console import console_of
from housing.cli.environment import child_environment
from housing.cli.home import (
    Lock,
    airflow_home,
    end_test_runs,
    hold,
    is_migrated,
    migrate,
    refuse_scheduler,
    tail,
)
from housing.cli.outcome import GOOD, Outcome, show
from housing.cli.services import Site, seen
from housing.domain.config import Params, load_params
from housing.engine import graph
from housing.engine.errors import fit_to_show, typeable
from housing.engine.execution import lockfile
from housing.engine.execution.stage_result import Change
from housing.errors import HousingError
from housing.settings import RUNS, Settings, load_settings

DAG_ID = "housing_ml_pipeline"
LOG = Path(".housing/log/run.log")
REPORT = Path("reports/evaluation_report.json")
INTERRUPTED = 130
"""Exit code of a run that a signal ended, as a shell says it."""

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_ENDED = frozenset({"success", "skipped", "failed"})
_LAST_LINES = 20
"""Lines of a failed task's log that go to the screen."""


def run_pipeline(*, force: bool, as_json: bool) -> int:
    """Runs the DAG once and prints what it did.

    Args:
        force: Run every stage, changed or not.
        as_json: Print JSON instead of tables, and no progress.

    Returns:
        The exit code: 0 done, 1 a task failed, 3 the gate rejected the model, 130 interrupted.

    Raises:
        ConfigError: The environment or ``params.yaml`` is wrong, or somebody else works on
            Airflow's database.
        GraphError: ``dvc.yaml`` or ``dvc.lock`` is broken, a merge conflict for one.
        HousingError: Airflow ended without a summary, or its database could not be prepared.
    """
    settings = load_settings()
    params = load_params(settings.root / "params.yaml")
    home = airflow_home()
    console = console_of(as_json=as_json)
    _check_stages(settings.root, console)
    log = settings.root / LOG
    refuse_scheduler(home)
    with hold(home) as lock:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("", encoding="utf-8")
        _prepare(settings.root, home, lock, console, log)
        conf = json.dumps({"dvc_force": "all"}) if force else "{}"
        code, run_id = _follow(settings, conf, lock, console, log)
        if code == INTERRUPTED:
            return code
        outcome = _outcome(settings, params, _summary(settings.root, run_id, log))
        if code in {0, 1}:  # Airflow itself has ended the run, well or not
            lock.note("")
    if as_json:
        sys.stdout.write(json.dumps(outcome.to_dict(), indent=2) + "\n")
    else:
        show(outcome, console)
    return outcome.exit_code or int(code != 0)


def _check_stages(root: Path, console: Console) -> None:
    """Names a broken file at once; Airflow would only say that it has no such DAG."""
    stages = graph.load(root)
    if stages.waiting:
        console.print(stages.waiting, style="yellow", markup=False)
    lockfile.check(root, [node.file for node in stages.stages])


def _prepare(root: Path, home: Path, lock: Lock, console: Console, log: Path) -> None:
    if not is_migrated(home):
        console.print("preparing Airflow's database", style="dim")
        migrate(home, log)
    if lock.left:
        console.print("ending the run that was interrupted", style="dim")
        end_test_runs(root, log)


class _Interruption:
    """Hands a request to stop on to the child: TERM first, KILL when asked again."""

    def __init__(self) -> None:
        self.asked = False
        self.child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # A signal that is ignored already, as by nohup, stays so.
        wanted = [number for number in _STOP if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._stop) for number in wanted}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def reach(self, child: subprocess.Popen[bytes]) -> None:
        """Names the child; it stops at once where that was asked for already."""
        self.child = child
        if self.asked:
            child.terminate()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.child and self.asked:
            self.child.kill()
        elif self.child:
            self.child.terminate()
        self.asked = True


def _follow(
    settings: Settings, conf: str, lock: Lock, console: Console, log: Path
) -> tuple[int, str]:
    """Runs Airflow, with all that it prints in the log, and shows how its tasks get on.

    Returns:
        Airflow's exit code, or `INTERRUPTED`, and Airflow's id of the run, "" where there is none.
    """
    run_id = ""
    ours, theirs = socket.socketpair()
    with ours, log.open("ab") as file, _Interruption() as interruption:
        process = _start(settings, conf, theirs, lock, file)
        interruption.reach(process)
        with process, ours.makefile("rb") as lines:
            for line in lines:  # until the process has ended
                event = json.loads(line)
                run_id = event["run_id"]
                if interruption.asked and event["state"] in _ENDED:
                    process.kill()  # it would go on with the next task, and send an alert
                    break
                _show_progress(event, console)
                with suppress(OSError):  # it was killed meanwhile
                    ours.sendall(b"\n")
    if interruption.asked:
        with suppress(OSError):
            console.print(typeable("interrupted; to go on: housing run"))
        return INTERRUPTED, run_id
    return process.returncode, run_id


def _start(
    settings: Settings, conf: str, events: socket.socket, lock: Lock, log: BinaryIO
) -> subprocess.Popen[bytes]:
    """Starts Airflow in a session of its own, so that Ctrl-C reaches it once, through us.

    It inherits the lock, and holds it for as long as it lives, whatever becomes of us.
    """
    with events:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "housing.orchestration.once"),
                *(str(events.fileno()), DAG_ID, conf),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(
                HOUSING_RETRIES="0", NO_COLOR="1", COLUMNS="1000", **_pages(settings)
            ),
            start_new_session=True,
            pass_fds=[lock.file.fileno(), events.fileno()],
        )
    lock.note(process.pid)
    return process


def _pages(settings: Settings) -> dict[str, str]:
    """Where a browser sees Airflow and MLflow once `make up` has started them: links lead there."""
    url = "AIRFLOW__API__BASE_URL"
    airflow = os.environ.get(url) or Site.of(settings).airflow_url
    return {url: airflow, "HOUSING_MLFLOW_URL": seen(settings).mlflow_url}


def _show_progress(event: Mapping[str, Any], console: Console) -> None:
    task, state, result = event["task_id"], event["state"], event["result"]
    if state == "failed":
        console.print(f"  {task}: failed, with these last lines in {event['log']}", style="red")
        for line in _last_lines(Path(event["log"])):
            console.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)
    elif state in _ENDED:
        is_stage = isinstance(result, dict) and "reasons" in result
        told = _told(result) if is_stage else state
        console.print(f"  {task}: {told}", style="dim", markup=False, highlight=False)


def _told(record: Mapping[str, Any]) -> str:
    """What became of a stage; the first of several reasons is enough while the run goes on."""
    first, *more = record.get("reasons") or [None]
    why = f": {Change(**first)}" if first else ""
    return f"{record['state']}{why}" + (f" (+{len(more)})" if more else "")


def _last_lines(log: Path) -> list[str]:
    """The end of a task's log: Airflow keeps a JSON object a line."""
    found = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]:
        with suppress(ValueError, TypeError, KeyError):
            found.append(str(json.loads(line)["event"]))
    return found


def _summary(root: Path, run_id: str, log: Path) -> Mapping[str, Any]:
    file = root / RUNS / f"{run_id}.json"
    if not run_id or not file.exists():
        raise HousingError(f"Airflow ended without a summary:\n{tail(log)}", f"less {log}")
    content: dict[str, Any] = _read_json(file)
    return content


def _read_json(path: Path) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise HousingError(f"{path} is broken: {error}", f"rm {path}, then: housing run") from error


def _outcome(settings: Settings, params: Params, summary: Mapping[str, Any]) -> Outcome:
    report = settings.root / REPORT
    maker = next((n.name for n in graph.load(settings.root).stages if str(REPORT) in n.outs), "")
    states = {stage["stage"]: stage["state"] for stage in summary["stages"]}
    # Where its stage failed, the report is that of an earlier result.
    known = states.get(maker) in GOOD and report.exists()
    model = _read_json(report) if known else None
    site = Site.of(settings)
    pages = f"Airflow at {site.airflow_url}, MLflow at {fit_to_show(site.mlflow_url)}"
    return Outcome(summary, model, params.registry.model, params.registry.staging, pages)

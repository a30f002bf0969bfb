"""``housing run``: the DAG once, through real Airflow task runs, and what it did."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

from rich.console import Console

from housing.cli.home import (
    Lock,
    airflow,
    airflow_home,
    end_test_runs,
    hold,
    is_migrated,
    migrate,
    refuse_scheduler,
    tail,
)
from housing.cli.outcome import Outcome, show
from housing.domain.config import Params, load_params
from housing.engine import graph
from housing.engine.execution import lockfile
from housing.errors import HousingError
from housing.settings import RUNS, Settings, load_settings

DAG_ID = "housing_ml_pipeline"
LOG = Path(".housing/log/run.log")
INTERRUPTED = 130
"""Exit code of a run that a signal ended, as a shell says it."""

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PROGRESS = re.compile(
    r"^\S+ \[\w+ *\] (?P<message>(?:stage |gate: |version |\S+: ).+?) +"
    r"\[(?:airflow\.task\.operators\.)?housing\.(?:pipeline|\S+(?:Dvc\w+|Model|Promote)Operator)\]"
)
"""A line of Airflow's log that tells how the run gets on."""

_TASK_ENDED = "[DAG TEST] end task"


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
    console = Console(stderr=as_json)
    _check_stages(settings.root, console)
    log = settings.root / LOG
    refuse_scheduler(home)
    with hold(home) as lock:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("", encoding="utf-8")
        _prepare(settings.root, home, lock, console, log)
        began = time.time()
        conf = json.dumps({"force": "all"}) if force else "{}"
        code = _follow(airflow("dags", "test", DAG_ID, "--conf", conf), lock, console, log)
        if code == INTERRUPTED:
            return code
        outcome = _outcome(settings, params, _newest_summary(settings.root / RUNS, began, log))
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
        self.child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        # A signal that is ignored already, as by nohup, stays so.
        wanted = [number for number in _STOP if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._stop) for number in wanted}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def reach(self, child: subprocess.Popen[str]) -> None:
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


def _follow(command: list[str], lock: Lock, console: Console, log: Path) -> int:
    """Runs Airflow, writes all it says to the log, and shows what is progress.

    Returns:
        Airflow's exit code, or `INTERRUPTED`.
    """
    with (
        log.open("a", encoding="utf-8") as file,
        _Interruption() as interruption,
        _start(command, lock) as process,
    ):
        interruption.reach(process)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            file.write(line)
            file.flush()
            if not interruption.asked:
                _show_progress(line, console)
            elif _TASK_ENDED in line:
                process.kill()  # it would go on with the next stage, and send an alert
    if interruption.asked:
        with suppress(OSError):
            console.print("interrupted; to go on: housing run")
        return INTERRUPTED
    return process.returncode


def _start(command: list[str], lock: Lock) -> subprocess.Popen[str]:
    """Starts Airflow in a session of its own, so that Ctrl-C reaches it once, through us.

    It inherits the lock, and holds it for as long as it lives, whatever becomes of us.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
        start_new_session=True,
        pass_fds=[lock.file.fileno()],
    )
    lock.note(process.pid)
    return process


def _environment() -> dict[str, str]:
    """The stages' commands find the Python that runs this, as in an activated environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    given = {"PATH": path, "HOUSING_RETRIES": "0", "NO_COLOR": "1", "COLUMNS": "1000"}
    return {**os.environ, **given}


def _show_progress(line: str, console: Console) -> None:
    if told := _PROGRESS.match(line):
        message = _shortened(told["message"])
        console.print(f"  {message}", style="dim", markup=False, highlight=False)


def _shortened(message: str) -> str:
    """The first of several reasons of a stage is enough while it runs."""
    first, *more = message.split("; ") if message.startswith("stage ") else [message]
    return f"{first} (+{len(more)})" if more else first


def _newest_summary(folder: Path, since: float, log: Path) -> Mapping[str, Any]:
    written = [path for path in folder.glob("*.json") if path.stat().st_mtime >= since]
    if not written:
        raise HousingError(f"Airflow ended without a summary:\n{tail(log)}", f"less {log}")
    newest = max(written, key=lambda path: path.stat().st_mtime)
    content: dict[str, Any] = _read_json(newest)
    return content


def _read_json(path: Path) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise HousingError(f"{path} is broken: {error}", f"rm {path}, then: housing run") from error


def _outcome(settings: Settings, params: Params, summary: Mapping[str, Any]) -> Outcome:
    report = settings.root / "reports" / "evaluation_report.json"
    model = _read_json(report) if report.exists() else None
    return Outcome(summary, model, params.registry.model, params.registry.staging)

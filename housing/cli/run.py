"""``housing run``: the DAG once, through real Airflow task runs, and what it did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from housing.cli.home import airflow, airflow_home, is_migrated, migrate, tail
from housing.cli.outcome import Outcome, show
from housing.config import Params, load_params
from housing.errors import HousingError
from housing.settings import RUNS, Settings, load_settings

DAG_ID = "housing_ml_pipeline"
LOG = Path(".housing/log/run.log")

_PROGRESS = re.compile(
    r"^\S+ \[\w+ *\] (?P<message>(?:stage |gate: |version |\S+: ).+?) +"
    r"\[(?:airflow\.task\.operators\.)?housing\.(?:pipeline|\S+(?:Dvc\w+|Model|Promote)Operator)\]"
)
"""A line of Airflow's log that tells how the run gets on."""


def run_pipeline(*, force: bool, as_json: bool) -> int:
    """Runs the DAG once and prints what it did.

    Args:
        force: Run every stage, changed or not.
        as_json: Print JSON instead of tables, and no progress.

    Returns:
        The exit code: 0 done, 1 a task failed, 3 the gate rejected the model.

    Raises:
        ConfigError: The environment or ``params.yaml`` is wrong.
        HousingError: Airflow ended without a summary, or its database could not be prepared.
    """
    settings = load_settings()
    params = load_params(settings.root / "params.yaml")
    home = airflow_home()
    console = Console(stderr=as_json)
    log = settings.root / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("", encoding="utf-8")
    if not is_migrated(home):
        console.print("preparing Airflow's database", style="dim")
        migrate(home, log)
    began = time.time()
    conf = json.dumps({"force": "all"}) if force else "{}"
    _follow(airflow("dags", "test", DAG_ID, "--conf", conf), console, log)
    summary = _newest_summary(settings.root / RUNS, began, log)
    outcome = _outcome(settings, params, summary)
    if as_json:
        sys.stdout.write(json.dumps(outcome.to_dict(), indent=2) + "\n")
    else:
        show(outcome, console)
    return outcome.exit_code


def _follow(command: list[str], console: Console, log: Path) -> None:
    """Runs a command, writes all it says to the log, and shows what is progress."""
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(),
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            file.write(line)
            file.flush()
            if told := _PROGRESS.match(line):
                message = _shortened(told["message"])
                console.print(f"  {message}", style="dim", markup=False, highlight=False)


def _environment() -> dict[str, str]:
    """The stages' commands find the Python that runs this, as in an activated environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    given = {"PATH": path, "HOUSING_RETRIES": "0", "NO_COLOR": "1", "COLUMNS": "1000"}
    return {**os.environ, **given}


def _shortened(message: str) -> str:
    """The first of several reasons of a stage is enough while it runs."""
    first, *more = message.split("; ") if message.startswith("stage ") else [message]
    return f"{first} (+{len(more)})" if more else first


def _newest_summary(folder: Path, since: float, log: Path) -> Mapping[str, Any]:
    written = [path for path in folder.glob("*.json") if path.stat().st_mtime >= since]
    if not written:
        raise HousingError(f"Airflow ended without a summary:\n{tail(log)}", f"less {log}")
    newest = max(written, key=lambda path: path.stat().st_mtime)
    content: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
    return content


def _outcome(settings: Settings, params: Params, summary: Mapping[str, Any]) -> Outcome:
    report = settings.root / "reports" / "evaluation_report.json"
    model = json.loads(report.read_text(encoding="utf-8")) if report.exists() else None
    return Outcome(summary, model, params.registry.model, params.registry.staging)

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
from typing import Any, TextIO

from rich.console import Console

from housing.cli.outcome import Outcome, show
from housing.config import Params, load_params
from housing.errors import ConfigError, HousingError
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
        HousingError: Airflow ended without a summary.
    """
    settings = load_settings()
    params = load_params(settings.root / "params.yaml")
    _require_airflow_home()
    console = Console(stderr=as_json)
    log = settings.root / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.time()
    with log.open("w", encoding="utf-8") as file:
        _migrate(console, file)
        conf = json.dumps({"force": "all"}) if force else "{}"
        _follow(["airflow", "dags", "test", DAG_ID, "--conf", conf], console, file)
    summary = _newest_summary(settings.root / RUNS, began, log)
    outcome = _outcome(settings, params, summary)
    if as_json:
        sys.stdout.write(json.dumps(outcome.to_dict(), indent=2) + "\n")
    else:
        show(outcome, console)
    return outcome.exit_code


def _require_airflow_home() -> None:
    if not os.environ.get("AIRFLOW_HOME"):
        raise ConfigError(
            "AIRFLOW_HOME is not set, so Airflow would keep its state in the home folder",
            "export UV_ENV_FILE=local.env, then: uv run housing run",
        )


def _migrate(console: Console, log: TextIO) -> None:
    if (Path(os.environ["AIRFLOW_HOME"]) / "airflow.db").exists():
        return
    console.print("making Airflow's database", style="dim")
    _follow(["airflow", "db", "migrate"], console, log)


def _follow(command: list[str], console: Console, log: TextIO) -> None:
    """Runs a command, writes all it says to the log, and shows what is progress."""
    environment = {**os.environ, "HOUSING_RETRIES": "0", "NO_COLOR": "1", "COLUMNS": "1000"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            log.write(line)
            log.flush()
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
        last = log.read_text(encoding="utf-8").splitlines()[-20:]
        raise HousingError("Airflow ended without a summary:\n" + "\n".join(last), f"less {log}")
    newest = max(written, key=lambda path: path.stat().st_mtime)
    content: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
    return content


def _outcome(settings: Settings, params: Params, summary: Mapping[str, Any]) -> Outcome:
    report = settings.root / "reports" / "evaluation_report.json"
    model = json.loads(report.read_text(encoding="utf-8")) if report.exists() else None
    return Outcome(summary, model, params.registry.model, params.registry.staging)

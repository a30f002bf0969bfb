"""``housing status``: which versions are live, what runs, and what waits for a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.table import Table
from rich.text import Text

from housing.cli.console import console_of
from housing.cli.home import airflow_home, lock_holder
from housing.cli.keeper import NAME, healthy_services
from housing.cli.processes import running
from housing.cli.services import Site
from housing.domain.config import load_registered
from housing.engine.errors import ExplainedError, typeable
from housing.settings import Settings, load_settings

Row = dict[str, Any]


def show_status(*, as_json: bool) -> int:
    """Prints what is live, what runs and what waits.

    Args:
        as_json: Print JSON.

    Returns:
        The exit code: 0, or 1 where MLflow or Airflow could not be asked, or ``params.yaml`` does
        not name what to ask for.

    Raises:
        ConfigError: The environment is wrong.
    """
    settings = load_settings()
    live, work = _live(settings), _at_work(settings)
    found = {**live, **work, "errors": live["errors"] + work["errors"]}
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        for name, text in _lines(found):
            table.add_row(name, Text(text))
        console_of().print(table, highlight=False)
    return int(bool(found["errors"]))


def _live(settings: Settings) -> dict[str, Any]:
    """The version in each alias, since when, and by whom; None where it holds none."""
    try:
        params = load_registered(settings.root / "params.yaml")
    except ExplainedError as error:
        return {"aliases": {}, "errors": [f"{error.fact}; next: {error.hint}"]}
    names = (params.registry.champion, params.registry.staging)
    found: dict[str, Any] = {"aliases": dict.fromkeys(names), "errors": []}
    file = settings.store.removeprefix("sqlite:///")
    if file != settings.store and not Path(file).exists():  # MLflow would make one
        return found
    from housing.mlops import registry

    try:
        held = registry.aliases(settings, params)
        journal = registry.read_journal(settings, params)
    except ExplainedError as error:
        return found | {"errors": [f"{error.fact}; next: {error.hint}"]}
    for name in names:
        if name in held:
            moves = [move for move in journal if move.alias == name and move.state == "done"]
            found["aliases"][name] = {
                "version": held[name].version,
                "rmse": held[name].metrics.get("test_rmse"),
                "since": _moment(moves[-1].at) if moves else None,
                "who": moves[-1].who if moves else None,
                "why": moves[-1].why if moves else None,
                "withdrawn": held[name].withdrawn,
            }
    return found


def _at_work(settings: Settings) -> dict[str, Any]:
    """The services of `housing up`, the runs that go on, and the questions that wait."""
    keeper = running(settings.root).get(NAME)
    if keeper is None or not keeper.alive:
        pid = lock_holder(airflow_home())
        runs = [{"dag": "housing_ml_pipeline", "run": f"housing run, process {pid}"}] if pid else []
        return {"services": {}, "running": runs, "waiting": [], "errors": []}
    site = Site.of(settings)
    services = healthy_services(site)
    found: dict[str, Any] = {"services": services, "running": [], "waiting": [], "errors": []}
    try:
        tasks = site.api.tasks("running", "queued", "up_for_retry")
        found["running"] = [
            {"dag": run["dag_id"], "run": run["dag_run_id"], "tasks": _tasks_of(run, tasks)}
            for run in site.api.runs("running", "queued")
        ]
        found["waiting"] = [_question(site, asked) for asked in site.api.questions()]
    except (httpx.HTTPError, OSError) as error:
        fault = f"Airflow does not tell what runs: {error}; next: {typeable('housing doctor')}"
        return found | {"errors": [fault]}
    return found


def _tasks_of(run: Mapping[str, Any], tasks: list[Row]) -> list[str]:
    same = ("dag_id", "dag_run_id")
    mine = (task for task in tasks if all(task[key] == run[key] for key in same))
    return [f"{task['task_id']} {task['state']}" for task in mine]


def _question(site: Site, asked: Mapping[str, Any]) -> Row:
    task = asked["task_instance"]
    run = f"dags/{task['dag_id']}/runs/{task['dag_run_id']}"
    address = f"{site.airflow_url}/{run}/tasks/{task['task_id']}/required_actions"
    return {"question": asked["subject"], "since": asked["created_at"], "address": address}


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, held in found["aliases"].items():
        yield name, _held(held) if held else "none"
    sick = [name for name, well in found["services"].items() if not well]
    if not found["services"]:
        yield "services", "not started by this project; next: make up"
    else:
        look = f"not well: {', '.join(sick)}; next: {typeable('housing doctor')}"
        yield "services", look if sick else "well"
    for run in found["running"] or [None]:
        tasks = ", ".join(run.get("tasks", ())) if run else ""
        yield "runs", f"{run['dag']}, {run['run']}{f': {tasks}' if tasks else ''}" if run else "-"
    for asked in found["waiting"] or [None]:
        yield "waits", f"{asked['question']} {asked['address']}" if asked else "-"
    for error in found["errors"]:
        yield "error", error


def _held(held: Mapping[str, Any]) -> str:
    rmse = f", RMSE ${held['rmse']:,.0f}" if held["rmse"] is not None else ""
    since = f", since {held['since']} by {held['who']}: {held['why']}" if held["since"] else ""
    taken = f", withdrawn: {held['withdrawn']}" if held["withdrawn"] else ""
    return f"version {held['version']}{rmse}{since}{taken}"


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")

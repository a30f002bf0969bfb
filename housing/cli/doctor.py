"""``housing doctor``: what is wrong with the set-up, and how to mend it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from housing.cli.console import console_of
from housing.cli.home import CONNECTION
from housing.domain.config import load_params
from housing.engine.errors import ExplainedError, fit_to_show, typeable
from housing.errors import TrackingError
from housing.settings import WEB, Settings, load_settings

State = Literal["ok", "warning", "fault"]

MIN_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        state: Whether it is as it should be; only a fault stops the pipeline.
        detail: What was found.
        hint: What to do next, where something is to be done.
    """

    name: str
    state: State
    detail: str
    hint: str = ""


def examine(*, as_json: bool, deeply: bool = False) -> int:
    """Looks at everything, prints the findings, and returns the exit code.

    Args:
        as_json: Print JSON instead of a table.
        deeply: Also hash DVC's whole cache, and every out: a bit that flipped shows nowhere else.
    """
    found = [*_findings(), *(deep(load_settings()) if deeply else ())]
    findings = [replace(finding, hint=typeable(finding.hint)) for finding in found]
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        _print(findings)
    return int(any(finding.state == "fault" for finding in findings))


def _findings() -> Iterator[Finding]:
    try:
        settings = load_settings()
    except ExplainedError as error:
        yield Finding("environment", "fault", error.fact, error.hint)
        return
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("params.yaml", _params),
        ("dvc.yaml", _graph),
        ("deliveries", _deliveries),
        ("MLflow", _mlflow),
        ("versions", _versions),
        ("Airflow", _airflow),
        ("services", _services),
        ("disk", _disk),
        ("git", _git),
    )
    for name, check in checks:
        try:
            yield check(settings)
        except ExplainedError as error:
            yield Finding(name, "fault", error.fact, error.hint)


def deep(settings: Settings) -> list[Finding]:
    """Hashes DVC's whole cache and every out in the workspace.

    Args:
        settings: Where the workspace is.
    """
    from housing.engine.execution import cache_proof

    count, objects = cache_proof.damaged_objects(settings.root)
    outs = cache_proof.damaged_outs(settings.root)
    return [
        _damage("DVC's cache", f"{count} objects in DVC's cache", [str(path) for path in objects]),
        _damage("outs", "the outs in the workspace", outs),
    ]


def _damage(name: str, whole: str, damaged: list[str]) -> Finding:
    if not damaged:
        return Finding(name, "ok", f"{whole}: all as their hashes say")
    verb = "is" if len(damaged) == 1 else "are"
    detail = f"{len(damaged)} of {whole} {verb} damaged: {', '.join(damaged)}"
    hint = f"rm -rf {shlex.join(damaged)} && housing repro (and look at the disk: dmesg)"
    return Finding(name, "fault", detail, hint)


def _params(settings: Settings) -> Finding:
    params = load_params(settings.root / "params.yaml")
    return Finding("params.yaml", "ok", f"candidates: {', '.join(params.candidates)}")


def _graph(settings: Settings) -> Finding:
    from housing.engine import graph
    from housing.engine.execution import lockfile

    found = graph.load(settings.root)
    lockfile.check(settings.root, [node.file for node in found.stages])
    if found.waiting:
        return Finding("dvc.yaml", "warning", found.waiting, "wait for that to end")
    return Finding("dvc.yaml", "ok", f"{len(found.names)} stages: {', '.join(found.names)}")


def _deliveries(settings: Settings) -> Finding:
    from housing.domain.data.landing import list_landing

    folder = settings.root / load_params(settings.root / "params.yaml").data.landing
    landing = list_landing(folder)
    found = f"{len(landing.files)} file(s) in {folder}"
    left_out = [name for name in landing.ignored if not name.startswith(".")]
    if left_out:
        return Finding(
            "deliveries",
            "warning",
            f"{found}; left out: {', '.join(left_out)}",
            "only *.csv and *.parquet files are deliveries",
        )
    return Finding("deliveries", "ok", found)


def _versions(settings: Settings) -> Finding:
    params = load_params(settings.root / "params.yaml")
    alias = params.registry.champion
    file = settings.store.removeprefix("sqlite:///")
    if file != settings.store and not Path(file).exists():  # MLflow would make one
        return Finding("versions", "ok", "nothing is tracked yet")
    from housing.mlops.registry import aliases
    from housing.mlops.registry.environment import differences, made_with

    try:
        lost = [name for name, held in aliases(settings, params).items() if not held.metrics]
        if lost:
            fact = f"the MLflow run behind {' and '.join(lost)} is gone"
            return Finding("versions", "warning", fact, "housing run")
        made = made_with(settings, params, alias)
    except TrackingError as error:
        return Finding("versions", "warning", f"not compared: {error.fact}", error.hint)
    if made is None:
        return Finding("versions", "ok", f"no version of {params.registry.model} is {alias}")
    number, versions = made
    differ = [f"{name} {then}, here {here}" for name, (then, here) in differences(versions).items()]
    if differ:
        return Finding(
            "versions",
            "warning",
            f"version {number} ({alias}) was made with {'; '.join(differ)}",
            "scripts/uv sync, or dvc repro and a promotion with the versions here",
        )
    return Finding("versions", "ok", f"version {number} ({alias}) was made with those here")


def _mlflow(settings: Settings) -> Finding:
    store = settings.store
    if store.startswith(WEB):
        from housing.mlops.tracking.connection import knock

        knock(settings)
    return Finding("MLflow", "ok", fit_to_show(store))


def _airflow(settings: Settings) -> Finding:
    home = os.environ.get("AIRFLOW_HOME")
    if not home:
        hint = "export UV_ENV_FILE=local.env, then: housing doctor"
        return Finding("Airflow", "warning", "AIRFLOW_HOME is not set: it would use $HOME", hint)
    # Where a server holds the database, as in the stack, this is a folder for its logs only.
    outside = not Path(home).resolve().is_relative_to(settings.root.resolve())
    if outside and CONNECTION not in os.environ:
        hint = "unset AIRFLOW_HOME, then: uv run --env-file local.env housing doctor"
        detail = f"AIRFLOW_HOME is {home}, outside {settings.root}: `housing run` migrates it"
        return Finding("Airflow", "warning", detail, hint)
    if not Path(home).exists():
        return Finding("Airflow", "ok", f"{home} is made by the first `housing run`")
    return Finding("Airflow", "ok", home)


def _services(settings: Settings) -> Finding:
    """Those that `housing up` started: whether each lives, answers, and stays alive."""
    from housing.cli import keeper
    from housing.cli.processes import running
    from housing.cli.services import LOGS, Site

    found = running(settings.root)
    if not found:
        return Finding("services", "ok", f"none was started; {settings.start} starts them")
    if keeper.NAME not in found or not found[keeper.NAME].alive:
        detail = "what `make up` started has lost the process that keeps it alive"
        return Finding("services", "fault", detail, "make down; make up")
    site = Site.of(settings)
    sick = [name for name, well in keeper.healthy_services(site).items() if not well]
    if sick:
        detail = f"not healthy: {', '.join(sick)} (a start takes up to a minute)"
        return Finding("services", "fault", detail, f"less {settings.root / LOGS / sick[0]}.log")
    again = [f"{name} {one.starts - 1} times" for name, one in found.items() if one.starts > 1]
    if again:
        log = f"less {settings.root / LOGS / keeper.NAME}.log"
        return Finding("services", "warning", f"died and came back: {', '.join(again)}", log)
    detail = f"all well: Airflow at {site.airflow_url}, MLflow at {site.mlflow_url}"
    return Finding("services", "ok", detail)


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.root).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < MIN_FREE_BYTES:
        hint = "docs/stack.md: Keeping it tidy" if settings.stack else "dvc gc --workspace"
        return Finding("disk", "warning", detail, hint)
    return Finding("disk", "ok", detail)


def _git(settings: Settings) -> Finding:
    if (settings.root / ".git").exists():
        return Finding("git", "ok", "the revision is recorded with each run")
    if settings.git_revision:
        return Finding("git", "ok", f"runs carry the image's revision {settings.git_revision}")
    if settings.stack:
        return Finding("git", "warning", "the image carries no revision", settings.start)
    detail = "no git repository: runs carry no revision"
    return Finding("git", "warning", detail, "git init")


def _print(findings: list[Finding]) -> None:
    colours: dict[State, str] = {"ok": "green", "warning": "yellow", "fault": "red"}
    table = Table("", "what", "found", "next", box=None, header_style="bold")
    for finding in findings:
        state = Text(finding.state, style=colours[finding.state])
        table.add_row(state, finding.name, Text(finding.detail), Text(finding.hint))
    console_of().print(table)

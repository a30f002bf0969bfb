"""`housing up` and `housing down`: Airflow and MLflow in the background, on loopback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from housing.cli import keeper
from housing.cli.console import console_of
from housing.cli.home import end_test_runs, hold_for_services, is_migrated, migrate, tail
from housing.cli.keeper import healthy_services
from housing.cli.processes import Running, end, forget_running, note_running, running
from housing.cli.services import LOGS, Site
from housing.errors import HousingError
from housing.mlops.tracking.sqlite import create_store
from housing.settings import load_settings

_MODELS = "/#/experiments?workflowType=machine_learning"
"""MLflow's page of experiments; its own first page is about prompts."""
_PATIENCE = 240.0
"""Seconds until all services have to be healthy: a busy machine takes a minute."""


def up() -> None:
    """Starts Airflow and MLflow, waits until they work, and prints where they are.

    Raises:
        ConfigError: A port is taken, or somebody else works on Airflow's database.
        HousingError: A service does not start; nothing is left running then.
    """
    site = Site.of(load_settings())
    root, console = site.settings.root, console_of()
    if _keeper_lives(root):
        site.require_noted_ports()
        _await_health(site, console, first=False)
    else:
        _end_all(root)  # what a killed keeper left
        site.require_free_ports()
        try:
            _start(site, console)
            _await_health(site, console, first=True)
        except BaseException:
            _end_all(root)
            raise
    _tell(site, console)


def down() -> None:
    """Ends what `up` started, and everything below it."""
    had = _end_all(load_settings().root)
    console_of().print("Airflow and MLflow have ended" if had else "nothing runs")


def _start(site: Site, console: Console) -> None:
    root = site.settings.root
    (root / LOGS).mkdir(parents=True, exist_ok=True)
    console.print(f"starting Airflow and MLflow (logs in {LOGS})")
    with hold_for_services(site.home) as lock:
        log = root / LOGS / "migrate.log"
        log.write_text("", encoding="utf-8")
        if not is_migrated(site.home):
            migrate(site.home, log)
        end_test_runs(root, log)
        lock.note("")
        if not site.named_mlflow:
            create_store(site.store, site.artifacts)
        site.remember()
        for service in site.services():
            (root / LOGS / f"{service.name}.log").write_bytes(b"")
        with (root / LOGS / f"{keeper.NAME}.log").open("wb") as file:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "housing.cli.keeper", str(lock.file.fileno())],
                cwd=root,
                env=site.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock.file.fileno()],
            )
        note_running(root, {keeper.NAME: Running.of(child.pid)})


def _await_health(site: Site, console: Console, *, first: bool) -> None:
    root = site.settings.root
    deadline = time.monotonic() + _PATIENCE
    with console.status("waiting until they answer"):
        while True:
            found = running(root)
            for service in site.services():
                if first and service.name in found and found[service.name].starts > 1:
                    raise _broken(root, service.name)
            if not _keeper_lives(root):
                raise _broken(root, keeper.NAME)
            health = healthy_services(site)
            missing = [name for name, well in health.items() if not well or name not in found]
            if not missing:
                break
            if time.monotonic() > deadline:
                raise _broken(root, missing[0])
            time.sleep(0.2)
    for service in site.services():
        if service.port and not found[service.name].listens(service.port):
            raise HousingError(
                f"somebody else answers on port {service.port}, not our {service.name}",
                f"less {root / LOGS / service.name}.log",
            )


def _broken(root: Path, name: str) -> HousingError:
    log = root / LOGS / f"{name}.log"
    return HousingError(f"{name} does not work:\n{tail(log)}", f"less {log}")


def _tell(site: Site, console: Console) -> None:
    login = f"login: admin  password: {site.api.password}"
    named = "  (MLFLOW_TRACKING_URI)" if site.named_mlflow else ""
    for line in (
        f"Airflow  {site.airflow_url}  {login}",
        f"MLflow   {site.mlflow_url}{_MODELS}{named}",
        "stop     make down",
    ):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _keeper_lives(root: Path) -> bool:
    found = running(root).get(keeper.NAME)
    return found is not None and found.alive


def _end_all(root: Path) -> bool:
    """Ends the keeper, which ends the rest, and then what is left; answers whether any lived."""
    found = running(root)
    had = any(process.family() for process in found.values())
    if keeper.NAME in found:
        end([found[keeper.NAME]], signal.SIGTERM, keeper.GRACE + 30)
    end(running(root).values(), signal.SIGTERM, keeper.GRACE)
    forget_running(root)
    return had

"""The process behind `housing up`: starts the services, and starts again what dies or hangs.

It also notices what Airflow itself does not: a worker of LocalExecutor that was killed while it
held the lock of the executor's queue. The other workers wait for that lock for ever then, and
the scheduler goes on to look healthy.

Usage: ``python -m housing.cli.keeper LOCK``, LOCK being the descriptor of Airflow's lock, which
the keeper and the scheduler hold as long as they live.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from threading import Event
from types import FrameType

import httpx
import psutil

from housing.cli.processes import Running, end, note_running
from housing.cli.services import LOGS, Service, Site
from housing.settings import load_settings

NAME = "keeper"
GRACE = 15.0
"""Seconds that the services have to end by themselves."""

_LOOK = 0.5  # seconds between two looks at the processes
_ASK = 5.0  # seconds between two questions to the servers
_SILENT = 180.0  # seconds without a sign of health until a service counts as stuck
_QUEUED = 60.0  # seconds that a task may wait for an idle worker
_STEADY = 60.0  # a service that lived for so long is started again at once
_MAX_PAUSE = 60.0
_IDLE = "<idle>"  # how LocalExecutor calls a worker without a task

_log = logging.getLogger(NAME)


class Keeper:
    """Keeps the services of a site running.

    Args:
        site: The site.
        lock: Descriptor of Airflow's lock.
    """

    def __init__(self, site: Site, lock: int) -> None:
        self._site = site
        self._lock = lock
        self._stop = Event()
        self._services = {service.name: service for service in site.services()}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._running = {NAME: Running.of(os.getpid())}
        self._began: dict[str, float] = {}
        self._well: dict[str, float] = {}
        self._answers = False
        self._api = site.api
        self._queued: dict[str, float] = {}

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Asks it to end; a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Keeps the services running until it is asked to stop, then ends them."""
        asked = -_ASK
        while not self._stop.is_set():
            for name, service in self._services.items():
                self._keep(name, service)
            if time.monotonic() - asked >= _ASK:
                self._ask()
                asked = time.monotonic()
            self._stop.wait(_LOOK)
        end((self._running[name] for name in self._children), signal.SIGTERM, GRACE)

    def _keep(self, name: str, service: Service) -> None:
        child = self._children.get(name)
        if child is None:
            if self._answers or not service.after_api:
                self._start(name, service)
        elif child.poll() is not None and self._is_due(name):
            _log.warning("%s (process %d) ended with %s", name, child.pid, child.returncode)
            self._start(name, service)
        elif time.monotonic() - self._well[name] > _SILENT:
            _log.warning("%s (process %d) is not healthy for %d s", name, child.pid, _SILENT)
            self._start(name, service)

    def _is_due(self, name: str) -> bool:
        """One that dies again and again is started less and less often."""
        lived = time.monotonic() - self._began[name]
        return lived > min(_MAX_PAUSE, 2.0 ** (self._running[name].starts - 1))

    def _start(self, name: str, service: Service) -> None:
        """Starts a service, the first time or again: nothing of the old one is left then."""
        before = self._running.get(name)
        if before is not None:
            end([before], signal.SIGKILL, 0)
            self._children[name].wait()
        steady = time.monotonic() - self._began.get(name, 0) > _STEADY
        log = self._site.settings.root / LOGS / f"{name}.log"
        with log.open("ab") as file:
            child = subprocess.Popen(
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=service.umask,
                # Tasks run as long as the scheduler's processes live: they hold the lock, too.
                pass_fds=[self._lock] if name == "scheduler" else [],
            )
        starts = 1 if before is None or steady else before.starts + 1
        self._children[name] = child
        self._running[name] = Running.of(child.pid, starts)
        self._began[name] = self._well[name] = time.monotonic()
        note_running(self._site.settings.root, self._running)
        _log.info("%s is process %d", name, child.pid)

    def _ask(self) -> None:
        health = healthy_services(self._site)
        self._answers = health.get("api-server", False)
        now = time.monotonic()
        for name in self._well:
            # Airflow's monitor speaks by the API server: while that is silent, nobody knows how the
            # others are, and the scheduler's tasks would die with it.
            unknown = not self._answers and not self._services[name].port
            if health.get(name, False) or unknown:
                self._well[name] = now
        if self._answers and "scheduler" in self._children:
            self._look_for_stuck_tasks(now)

    def _look_for_stuck_tasks(self, now: float) -> None:
        """Starts the scheduler anew where a task waits although a worker is idle."""
        try:
            queued = {str(task["id"]) for task in self._api.tasks("queued")}
        except (httpx.HTTPError, OSError) as error:
            _log.warning("Airflow does not tell which tasks are queued: %s", error)
            return
        self._queued = {task: self._queued.get(task, now) for task in queued}
        waited = max((now - since for since in self._queued.values()), default=0.0)
        if waited > _QUEUED and self._has_idle_worker():
            _log.warning("a task is queued for %d s, and no worker takes it", waited)
            self._queued = {}
            self._start("scheduler", self._services["scheduler"])

    def _has_idle_worker(self) -> bool:
        return any(
            _IDLE in " ".join(_words(process)) for process in self._running["scheduler"].family()
        )


def healthy_services(site: Site) -> dict[str, bool]:
    """Whether each service answers, or is healthy to Airflow's own monitor.

    Args:
        site: The site.
    """
    try:
        parts = site.api.health()
    except (httpx.HTTPError, ValueError):
        parts = {}
    health = {item.name: parts.get(item.part, False) for item in site.services() if item.part}
    if not site.named_mlflow:
        try:
            with httpx.Client(trust_env=False, timeout=10) as client:
                health["mlflow"] = client.get(f"{site.mlflow_url}/health").is_success
        except httpx.HTTPError:
            health["mlflow"] = False
    return health


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def main() -> None:
    """Runs the keeper of the project that the environment names."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    keeper = Keeper(Site.of(load_settings()), int(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, keeper.stop)
    keeper.run()


if __name__ == "__main__":
    main()

"""What `housing up` starts: which processes, where they listen, and which of them live."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from housing.cli.airflow_api import AirflowApi
from housing.cli.environment import LOOPBACK, child_environment
from housing.cli.home import airflow, airflow_home
from housing.cli.processes import STATE, read_json
from housing.engine.files import write_whole
from housing.errors import ConfigError
from housing.settings import WEB, Settings

LOGS = Path(".housing/log")
"""Folder, below the project, of one log for each service."""

_PORTS = STATE / "ports.json"
_PASSWORDS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"

_VARIABLES = {"airflow": ("AIRFLOW_PORT", 8080), "mlflow": ("MLFLOW_PORT", 5000)}


@dataclass(frozen=True)
class Service:
    """One process that runs in the background.

    Attributes:
        name: Its name, also of its log.
        command: Its command line.
        part: What Airflow's health report calls it; "" for MLflow.
        port: Where it listens, or 0.
        after_api: Whether it starts only when the API server answers.
        umask: Its umask, or -1 for the user's own.
    """

    name: str
    command: tuple[str, ...]
    part: str = ""
    port: int = 0
    after_api: bool = False
    umask: int = -1


@dataclass(frozen=True)
class Site:
    """The services of one project, and their addresses.

    Attributes:
        settings: The project's settings.
        home: Airflow's home folder.
        airflow_port: Where Airflow's API server listens.
        mlflow_port: Where our MLflow server listens.
    """

    settings: Settings
    home: Path
    airflow_port: int
    mlflow_port: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The site as the environment names it, or as it was started last.

        Raises:
            ConfigError: A port is no number, or AIRFLOW_HOME is not set.
        """
        known = read_json(settings.root / _PORTS)
        ports = {name: _port(*item, known.get(name)) for name, item in _VARIABLES.items()}
        return cls(settings, airflow_home(), ports["airflow"], ports["mlflow"])

    @property
    def airflow_url(self) -> str:
        """Address of Airflow's API server."""
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow: our server, or the one that the user named."""
        return self.settings.store if self.named_mlflow else f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def named_mlflow(self) -> bool:
        """Whether MLFLOW_TRACKING_URI names a server that is not ours: then none is started."""
        ours = {f"http://{host}:{self.mlflow_port}" for host in LOOPBACK}
        store = self.settings.store.rstrip("/")
        return store.startswith(("http://", "https://")) and store not in ours

    @property
    def store(self) -> str:
        """The store behind our MLflow server."""
        store = self.settings.store
        own = self.settings.model_copy(update={"tracking_uri": ""}).store
        return own if store.startswith(("http://", "https://")) else store

    @property
    def artifacts(self) -> str:
        """Where our MLflow server keeps artifacts: plain files, which need no server to be read."""
        folder = self.settings.root.resolve() / ".mlflow" / "artifacts"
        return self.settings.artifacts or folder.as_uri()

    @property
    def api(self) -> AirflowApi:
        """Airflow's REST API."""
        named = os.environ.get(_PASSWORDS, self.home / "passwords.json")
        return AirflowApi(self.airflow_url, Path(named))

    def remember(self) -> None:
        """Notes the ports: the next `housing up` and `housing doctor` know them."""
        write_whole(self.settings.root / _PORTS, json.dumps(self._ports()))

    def require_noted_ports(self) -> None:
        """Makes sure that the environment names no other ports than the services run on.

        Raises:
            ConfigError: It names other ones.
        """
        noted = read_json(self.settings.root / _PORTS)
        if noted != self._ports():
            where = f"Airflow and MLflow run on ports {noted['airflow']} and {noted['mlflow']}"
            wanted = f"AIRFLOW_PORT={self.airflow_port} MLFLOW_PORT={self.mlflow_port}"
            raise ConfigError(f"{where} already", f"make down; make up {wanted}")

    def _ports(self) -> dict[str, int]:
        return {"airflow": self.airflow_port, "mlflow": self.mlflow_port}

    def services(self) -> tuple[Service, ...]:
        """The services, in the order of their start."""
        api = ("api-server", "--host", "127.0.0.1", "--port", str(self.airflow_port))
        server = [sys.executable, "-P", "-m", "mlflow", "server", "--workers", "1"]
        server += ["--host", "127.0.0.1"]
        server += ["--port", str(self.mlflow_port), "--no-serve-artifacts"]
        server += ["--backend-store-uri", self.store, "--default-artifact-root", self.artifacts]
        found = (
            Service("mlflow", tuple(server), port=self.mlflow_port),
            # It writes the passwords; what tasks write keeps the user's own umask.
            Service(
                "api-server",
                tuple(airflow(*api, "--workers", "1")),
                part="metadatabase",
                port=self.airflow_port,
                umask=0o077,
            ),
            Service("dag-processor", tuple(airflow("dag-processor")), part="dag_processor"),
            Service("triggerer", tuple(airflow("triggerer", "--skip-serve-logs")), "triggerer"),
            Service(
                "scheduler",
                tuple(airflow("scheduler", "--skip-serve-logs")),
                part="scheduler",
                after_api=True,  # its tasks fail where nobody answers them yet
            ),
        )
        return found[1:] if self.named_mlflow else found

    def environment(self) -> dict[str, str]:
        """The environment of the services and of their tasks."""
        return child_environment(
            AIRFLOW__API__BASE_URL=self.airflow_url,
            AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{self.airflow_url}/execution/",
            MLFLOW_TRACKING_URI=self.mlflow_url,
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        )

    def require_free_ports(self) -> None:
        """Makes sure that nobody else listens where our services shall.

        Raises:
            ConfigError: Ports are taken; all of them are named.
        """
        asked = {"AIRFLOW_PORT": self.airflow_port}
        asked |= {} if self.named_mlflow else {"MLFLOW_PORT": self.mlflow_port}
        taken = {name: port for name, port in asked.items() if not _is_free(port)}
        if not taken:
            return
        fact = "; ".join(f"port {port} is taken{_by_whom(port)}" for port in taken.values())
        free = _free_after(max(asked.values()))
        others = " ".join(f"{name}={next(free)}" for name in taken)
        raise ConfigError(fact, f"make up {others}")


def seen(settings: Settings) -> Settings:
    """The settings with the place where a browser finds MLflow after `make up`: links lead there.

    Args:
        settings: May name the place, or a server, which stays.

    Raises:
        ConfigError: A port is no number.
    """
    if settings.mlflow_url or settings.stack or settings.store.startswith(WEB):
        return settings
    known = read_json(settings.root / _PORTS)
    port = _port(*_VARIABLES["mlflow"], known.get("mlflow"))
    return settings.model_copy(update={"mlflow_url": f"http://127.0.0.1:{port}"})


def _port(variable: str, default: int, remembered: int | None) -> int:
    named = os.environ.get(variable, "")
    if not named:
        return remembered or default
    if not named.isdecimal() or not 0 < int(named) < 2**16:
        raise ConfigError(f"{variable}={named} is no port", f"make up {variable}={default}")
    return int(named)


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # As the servers do it: what an ended one left in the kernel does not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_after(port: int) -> Iterator[int]:
    return (number for number in range(port + 1, 2**16) if _is_free(number))


def _by_whom(port: int) -> str:
    """Names the process, where it is one of this user's: others are hidden."""
    for place in psutil.net_connections("tcp"):
        here = place.status == psutil.CONN_LISTEN and getattr(place.laddr, "port", 0) == port
        if here and place.pid:
            with suppress(psutil.Error):
                words = " ".join(psutil.Process(place.pid).cmdline())
                return f" by process {place.pid} ({words[:60]})"
    return " by another process"

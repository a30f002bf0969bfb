"""`housing up` and `housing down`: real services, real kills, and whom they belong to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from housing.cli.environment import child_environment, no_proxy
from housing.cli.keeper import Keeper
from housing.cli.processes import Running, end, note_running, running
from housing.cli.services import Site
from housing.errors import ConfigError
from housing.settings import Settings, load_settings
from tests.airflow_driver import copy_database
from tests.mlflow_server import free_port, new_store

ROOT = Path(__file__).parents[1]


def until(holds: Callable[[], object], what: str, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def family() -> Iterator[Running]:
    """A process with a child, in a session of its own."""
    script = "sleep 100 & sleep 100"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as shell:
        head = Running.of(shell.pid)
        until(lambda: len(head.family()) == 3, "the children start")
        yield head
        for process in head.family():
            process.kill()


def test_what_a_killed_process_left_is_found_and_ended(family: Running, tmp_path: Path) -> None:
    note_running(tmp_path, {"scheduler": family})
    os.kill(family.pid, signal.SIGKILL)
    until(lambda: not family.alive, "it dies")
    (left,) = running(tmp_path).values()
    assert len(left.family()) == 2
    end([left], signal.SIGTERM, 0)
    assert left.family() == []


def test_a_process_id_that_belongs_to_somebody_else_is_not_ours(family: Running) -> None:
    assert Running(family.pid, family.began - 1).family() == []
    end([Running(family.pid, family.began - 1)], signal.SIGKILL, 0)
    assert family.alive


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HOUSING_ROOT", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / ".airflow"))
    monkeypatch.setenv("AIRFLOW_PORT", str(free_port()))
    monkeypatch.setenv("MLFLOW_PORT", str(free_port()))
    return load_settings()


def test_taken_ports_are_told_together_with_the_way_out(settings: Settings) -> None:
    site = Site.of(settings)
    site.require_free_ports()
    with (
        socket.create_server(("127.0.0.1", site.airflow_port)),
        socket.create_server(("127.0.0.1", site.mlflow_port)),
        pytest.raises(ConfigError, match=f"process {os.getpid()}") as error,
    ):
        site.require_free_ports()
    for port in (site.airflow_port, site.mlflow_port):
        assert f"port {port} is taken" in error.value.fact
    assert error.value.hint.startswith("make up AIRFLOW_PORT=")
    assert "MLFLOW_PORT=" in error.value.hint


def test_the_ports_are_remembered(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Site.of(settings)
    asked.remember()
    monkeypatch.delenv("AIRFLOW_PORT")
    monkeypatch.delenv("MLFLOW_PORT")
    assert Site.of(settings) == asked
    monkeypatch.setenv("AIRFLOW_PORT", "1")
    with pytest.raises(ConfigError, match=f"run on ports {asked.airflow_port} and"):
        Site.of(settings).require_noted_ports()
    monkeypatch.setenv("AIRFLOW_PORT", "eighty")
    with pytest.raises(ConfigError, match="AIRFLOW_PORT=eighty is no port"):
        Site.of(settings)


def test_a_server_that_the_user_named_takes_the_place_of_ours(settings: Settings) -> None:
    named = Site.of(settings.model_copy(update={"tracking_uri": "http://mlflow.example.com/x/"}))
    assert "mlflow" not in {service.name for service in named.services()}
    assert named.environment()["MLFLOW_TRACKING_URI"] == "http://mlflow.example.com/x"
    own = Site.of(settings)
    again = Site.of(settings.model_copy(update={"tracking_uri": f"{own.mlflow_url}/"}))
    assert "mlflow" in {service.name for service in again.services()}
    assert again.store == own.store == f"sqlite:///{settings.root}/.mlflow/mlflow.db"


@pytest.mark.parametrize(
    ("variables", "value"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "example.com, localhost"}, "example.com,localhost,127.0.0.1,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost,::1"),
    ],
)
def test_loopback_is_never_asked_through_a_proxy(variables: dict[str, str], value: str) -> None:
    assert no_proxy(variables) == {"no_proxy": value, "NO_PROXY": value}


def test_clients_honour_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name, value in child_environment().items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ask = f"import httpx; httpx.get('http://127.0.0.1:{port}/', timeout=30)"
        with subprocess.Popen([sys.executable, "-c", ask]) as client:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            connection.close()
            assert client.wait() == 0


@pytest.fixture
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without DAGs: its services start, and nothing runs."""
    root = settings.root
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "end_test_runs.py", root / "scripts")
    (root / "dags").mkdir()
    for name, value in {
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(root / "passwords.json"),
        "AIRFLOW__CORE__PARALLELISM": "2",
        "http_proxy": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    copy_database(root / ".airflow")
    new_store(root / ".mlflow" / "mlflow.db")
    return root


def housing(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("housing")), *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_silent_api_server_is_the_only_one_that_counts_as_silent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site.of(settings)
    keeper = Keeper(site, 0)
    names = [service.name for service in site.services()]
    keeper._well = dict.fromkeys(names, 0.0)
    silent = dict.fromkeys(names, False)
    monkeypatch.setattr("housing.cli.keeper.healthy_services", lambda _: silent)
    keeper._ask()
    assert {name for name, at in keeper._well.items() if not at} == {"api-server", "mlflow"}
    keeper._well = dict.fromkeys(names, 0.0)
    silent |= {"api-server": True, "mlflow": True}
    keeper._ask()
    assert {name for name, at in keeper._well.items() if not at} == {
        "dag-processor",
        "triggerer",
        "scheduler",
    }, "Airflow's monitor says that these are not healthy"


def test_what_dies_is_started_again_and_down_leaves_nothing(project: Path) -> None:
    site = Site.of(load_settings())
    try:
        done = housing(project, "up")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{site.airflow_url}  login: admin  password: " in done.stdout
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"{site.mlflow_url}/health").is_success

        told = json.loads(housing(project, "status", "--json").stdout)
        assert set(told["services"].values()) == {True}, told
        (fault,) = told["errors"]
        assert "params.yaml" in fault  # this project has none; what runs is told all the same
        before = running(project)
        assert set(before) == {"keeper", *(service.name for service in site.services())}
        os.kill(before["scheduler"].pid, signal.SIGKILL)
        until(lambda: running(project)["scheduler"] != before["scheduler"], "a new scheduler")
        assert before["scheduler"].family() == [], "its workers went with it"

        os.kill(before["keeper"].pid, signal.SIGKILL)
        left = [process for head in running(project).values() for process in head.family()]
        assert len(left) > 4
    finally:
        stopped = housing(project, "down")
    assert stopped.returncode == 0, stopped.stderr
    assert [process for process in left if is_alive(process)] == []
    assert housing(project, "down").stdout == "nothing runs\n"

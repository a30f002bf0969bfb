"""MLflow as the tests meet it: a real server process, and a store without one."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from housing.mlops.tracking.sqlite import create_store

KEPT = Path(__file__).parents[1] / f".pytest_cache/mlflow-{version('mlflow')}.db"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def new_store(file: Path) -> str:
    """Copies an empty store that is kept for all tests: MLflow makes one by some 60 migrations.

    Returns:
        Its address.
    """
    if not KEPT.exists():
        KEPT.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT.parent) as folder:
            create_store(f"sqlite:///{folder}/mlflow.db", None)
            (Path(folder) / "mlflow.db").replace(KEPT)
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(KEPT, file)
    return f"sqlite:///{file}"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on SQLite, for the whole session: one for all workers of pytest.

    To start it takes longer than most tests. Who needs it first starts it, who leaves it last ends
    it.
    """
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    folder = session / "mlflow-server"
    with _counted(folder, 1) as users:
        if users == 1:
            _start(folder)
        url = (folder / "url").read_text()
    try:
        yield url
    finally:
        with _counted(folder, -1) as users:
            if users == 0:
                _end(folder)


@contextmanager
def _counted(folder: Path, by: int) -> Iterator[int]:
    """Counts who uses what is in the folder, and keeps the others out meanwhile."""
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        users = int(file.read() or 0) + by
        yield users
        file.truncate(0)
        file.write(str(users))


def _start(folder: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    # On a busy machine a client is silent for longer than the 5 s after which uvicorn hangs up.
    command += ["--uvicorn-opts", "--timeout-keep-alive 120"]
    command += ["--backend-store-uri", new_store(folder / "mlflow.db")]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    # The server's job runner is not needed, and takes as long to start as the server.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    (folder / "pid").write_text(str(process.pid))
    (folder / "url").write_text(url)
    with ExitStack() as stack:
        stack.callback(_end, folder)
        wait_for(url, folder / "log")
        stack.pop_all()


def _end(folder: Path) -> None:
    """Ends the server, which another worker may have started."""
    os.killpg(int((folder / "pid").read_text()), signal.SIGTERM)


@pytest.fixture(scope="session")
def mlflow_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow store without a server, for the whole session."""
    return new_store(tmp_path_factory.mktemp("mlflow-file") / "mlflow.db")


def wait_for(url: str, log: Path) -> None:
    """Waits until a server answers."""
    for _ in range(600):
        try:
            if httpx.get(f"{url}/health", timeout=1).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    pytest.fail(f"{url} did not start: {log.read_text(encoding='utf-8')}")

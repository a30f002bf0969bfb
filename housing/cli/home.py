"""Airflow's home folder: its database, and who works with it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import psutil

from housing.engine.files import write_whole
from housing.errors import ConfigError, HousingError

CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
"""Variable that names a database other than the SQLite file in Airflow's home."""

DATABASE = "airflow.db"
LOCK = "housing.lock"
"""File that is locked by whoever runs the DAG, and by the scheduler of `housing up`. It
holds a process id until a run has ended well."""

_MIGRATED = "housing.migrated"
_ALIVE = timedelta(seconds=10)
"""A scheduler tells twice in this time that it lives. Airflow itself waits for 30 s, but one that
was killed shall not keep a run waiting for so long."""
_TAIL = 20


def airflow(*arguments: str) -> list[str]:
    """The command line of Airflow's CLI, wherever PATH leads."""
    # -P as in the script `airflow`: no file of the current folder stands in a module's place.
    return [sys.executable, "-P", "-m", "airflow", *arguments]


def airflow_home() -> Path:
    """The folder of Airflow's state, made where it is missing.

    Raises:
        ConfigError: ``AIRFLOW_HOME`` is not set.
    """
    named = os.environ.get("AIRFLOW_HOME")
    if not named:
        raise ConfigError(
            "AIRFLOW_HOME is not set, so Airflow would keep its state in the home folder",
            "export UV_ENV_FILE=local.env, then type the command again",
        )
    home = Path(named)
    home.mkdir(parents=True, exist_ok=True)
    return home


@dataclass(frozen=True)
class Lock:
    """The lock, held.

    Attributes:
        file: The file: a child that inherits it holds the lock, too.
        left: Whether the run before was interrupted, so that Airflow still takes it for running.
    """

    file: TextIO
    left: bool

    def note(self, text: object) -> None:
        """Replaces what the file says: a process id, or nothing when all has ended well."""
        self.file.truncate(0)
        self.file.write(str(text))
        self.file.flush()


@contextmanager
def hold(home: Path) -> Iterator[Lock]:
    """Holds the lock while the DAG runs.

    Args:
        home: Airflow's home folder.

    Raises:
        ConfigError: Another process holds it.
    """
    with (home / LOCK).open("a+", encoding="utf-8") as file:
        file.seek(0)
        pid = file.read()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not pid:
                raise _second_time(home) from None
            raise ConfigError(
                f"process {pid} runs the DAG in {home}", "wait for its end, then: housing run"
            ) from None
        lock = Lock(file, left=bool(pid))
        lock.note(os.getpid())
        yield lock


def lock_holder(home: Path) -> str:
    """The id of the process of `housing run` that runs the DAG, or "" where none does.

    Args:
        home: Airflow's home folder.
    """
    try:
        pid = (home / LOCK).read_text(encoding="utf-8")
        # The lock itself is left alone: whoever only tries it keeps a run from starting meanwhile.
        words = psutil.Process(int(pid)).cmdline() if pid else []
    except (FileNotFoundError, ValueError, psutil.Error):
        return ""
    return pid if any("housing" in word for word in words) else ""


@contextmanager
def hold_for_services(home: Path) -> Iterator[Lock]:
    """Holds the lock for the scheduler of `housing up`, which inherits it.

    Args:
        home: Airflow's home folder.

    Raises:
        ConfigError: Another process holds it.
    """
    with (home / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"`housing run`, or another `housing up`, is at work in {home}",
                "wait for its end, then: make up",
            ) from None
        yield Lock(file, left=True)


def refuse_scheduler(home: Path) -> None:
    """Makes sure that no scheduler without the lock takes the tasks of a run as well.

    Args:
        home: Airflow's home folder.

    Raises:
        ConfigError: A scheduler works on Airflow's database.
    """
    if CONNECTION in os.environ:
        check = airflow("jobs", "check", "--job-type", "SchedulerJob")
        check += ["--allow-multiple", "--limit", "0"]
        alive = subprocess.run(check, capture_output=True, check=False).returncode == 0
    else:
        alive = _has_scheduler(home / DATABASE)
    if alive:
        raise _second_time(home)


def _second_time(home: Path) -> ConfigError:
    return ConfigError(
        f"a scheduler works on the database of {home}: it would run each task a second time",
        "airflow dags trigger housing_ml_pipeline; or: make down, then: housing run",
    )


def _has_scheduler(database: Path) -> bool:
    """Asks SQLite itself: an import of Airflow takes seconds."""
    if not database.exists():
        return False
    query = (
        "SELECT 1 FROM job WHERE job_type = 'SchedulerJob' AND state = 'running' "
        "AND latest_heartbeat > ?"
    )
    since = (datetime.now(UTC) - _ALIVE).strftime("%Y-%m-%d %H:%M:%S")
    with closing(sqlite3.connect(database)) as connection:
        try:
            return connection.execute(query, (since,)).fetchone() is not None
        except sqlite3.DatabaseError:
            # No table: a first set-up was interrupted. No database: the migration says so.
            return False


def is_migrated(home: Path) -> bool:
    """Whether the database is one of the Airflow that is installed."""
    # A database elsewhere is not bound to this folder: Airflow itself has to look.
    if CONNECTION in os.environ or not (home / DATABASE).exists():
        return False
    marker = home / _MIGRATED
    return marker.exists() and marker.read_text(encoding="utf-8") == version("apache-airflow")


def migrate(home: Path, log: Path) -> None:
    """Makes or migrates Airflow's database.

    Args:
        home: Airflow's home folder.
        log: Where Airflow's output goes.

    Raises:
        HousingError: Airflow could not; the message has the log's tail.
    """
    # Its secrets are nobody else's; the stages' files keep the user's own umask.
    _call(airflow("db", "migrate"), log, "Airflow's database was not migrated", umask=0o077)
    write_whole(home / _MIGRATED, version("apache-airflow"))


def end_test_runs(root: Path, log: Path) -> None:
    """Marks the runs failed that an interrupted `housing run` left running.

    Args:
        root: The project's folder.
        log: Where Airflow's output goes.

    Raises:
        HousingError: Airflow could not; the message has the log's tail.
    """
    script = [sys.executable, str(root / "scripts" / "end_test_runs.py")]
    _call(script, log, "the runs left by an interruption were not ended")


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:])


def _call(command: list[str], log: Path, otherwise: str, umask: int = -1) -> None:
    with log.open("a", encoding="utf-8") as file:
        code = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, check=False, umask=umask
        ).returncode
    if code:
        raise HousingError(f"{otherwise} (exit code {code}):\n{tail(log)}", f"less {log}")

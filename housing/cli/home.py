"""Airflow's home folder, and its database."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from housing.errors import ConfigError, HousingError
from housing.settings import load_settings

_MIGRATED = "housing.migrated"
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
            "export UV_ENV_FILE=local.env, then: uv run housing run",
        )
    home = Path(named)
    home.mkdir(parents=True, exist_ok=True)
    return home


def is_migrated(home: Path) -> bool:
    """Whether the database is one of the Airflow that is installed."""
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
    (home / _MIGRATED).write_text(version("apache-airflow"), encoding="utf-8")


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8").splitlines()[-_TAIL:])


def _call(command: list[str], log: Path, otherwise: str, umask: int = -1) -> None:
    with log.open("a", encoding="utf-8") as file:
        code = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, check=False, umask=umask
        ).returncode
    if code:
        raise HousingError(f"{otherwise} (exit code {code}):\n{tail(log)}", f"less {log}")


def main() -> None:
    """Prepares the database for what scripts/up starts."""
    home, root = airflow_home(), load_settings().root
    log = root / ".housing" / "log" / "migrate.log"
    log.write_text("", encoding="utf-8")
    try:
        if not is_migrated(home):
            migrate(home, log)
    except HousingError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

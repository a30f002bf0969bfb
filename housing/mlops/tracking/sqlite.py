"""MLflow's SQLite store, made whole or not at all.

MLflow makes its tables one after the other in the file itself. Where that is cut off by a kill or a
full disk, every later use fails: "table registered_models already exists".
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from housing.errors import TrackingError, TrackingUnavailableError

_log = logging.getLogger(__name__)

_SQLITE = "sqlite:///"
_PARTIAL = ".partial"


def create_store(store: str, artifacts: str | None) -> None:
    """Makes an SQLite store where there is none yet. Whoever comes meanwhile waits for it.

    A store that was left half made is replaced: it holds nothing.

    Args:
        store: The store; nothing happens where it is no SQLite database.
        artifacts: Where MLflow's own default experiment keeps its artifacts; beside the database
            if None.

    Raises:
        TrackingUnavailableError: It cannot be made, for example on a full disk.
        TrackingError: The file is no SQLite database.
    """
    if not store.startswith(_SQLITE):
        return
    file = Path(store.removeprefix(_SQLITE)).absolute()
    if _is_made(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_made(file):
            return
        if file.exists():
            _log.warning("%s was left half made: it is made anew", file)
        folder = file.with_name(f".{file.name}{_PARTIAL}")
        shutil.rmtree(folder, ignore_errors=True)  # of a creation that was killed
        folder.mkdir()
        try:
            _create(folder / file.name, artifacts or (file.parent / "artifacts").as_uri())
            for left in ("-journal", "-wal", "-shm"):  # SQLite would apply them to the new file
                file.with_name(file.name + left).unlink(missing_ok=True)
            (folder / file.name).replace(file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _is_made(file: Path) -> bool:
    """Whether the creation came to its end: MLflow's last step adds the default experiment."""
    if not file.exists() or file.stat().st_size == 0:
        return False
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        try:
            return any(_has_rows(database, table) for table in ("experiments", "registered_models"))
        except sqlite3.OperationalError as error:  # it is locked for long
            raise TrackingUnavailableError(
                f"{file} cannot be read: {error}", "try again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise TrackingError(f"{file}: {error}", f"mv {file} {file}.broken") from error


def _has_rows(database: sqlite3.Connection, table: str) -> bool:
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
        return False
    return database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608  # our own names


def _create(file: Path, artifacts: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    try:
        SqlAlchemyStore(f"sqlite:///{file}", artifacts).engine.dispose()  # type: ignore[no-untyped-call]  # MLflow's
    except (MlflowException, SQLAlchemyError) as error:
        raise TrackingUnavailableError(
            f"MLflow's store cannot be made in {file.parent.parent}: {error}",
            "look for free space: df -h .",
        ) from error

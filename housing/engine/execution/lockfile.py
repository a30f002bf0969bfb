"""``dvc.lock`` as plain data: what the last good run of each stage read and wrote."""

from __future__ import annotations

import fcntl
import logging
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from housing.engine.errors import GraphError, StageBusyError

_log = logging.getLogger("housing.engine.execution")

PATIENCE = 3600.0
"""Seconds to wait for somebody else who holds DVC's lock."""

_POLL = 0.02


@dataclass(frozen=True, slots=True)
class OutEntry:
    """The content of one out: DVC's hash, and its size in bytes."""

    md5: str
    size: int


@dataclass(frozen=True, slots=True)
class LockEntry:
    """One stage's entry.

    Attributes:
        cmd: The command, or its commands one per line.
        deps: DVC's hash of each dep, by path.
        params: The value of each parameter, by file, then by key.
        outs: The content of each out, by path.
    """

    cmd: str
    deps: Mapping[str, str]
    params: Mapping[str, Mapping[str, Any]]
    outs: Mapping[str, OutEntry]


def read(root: Path) -> dict[str, LockEntry]:
    """Reads the ``dvc.lock`` at the root, without DVC.

    DVC rewrites the file in place under its lock, so this waits for that lock: a reader never
    sees half a file.

    Args:
        root: DVC's root folder.

    Returns:
        The entries by stage; none where no stage ever ran.

    Raises:
        GraphError: The file is no ``dvc.lock`` (a merge conflict, for one).
        StageBusyError: Somebody else held DVC's lock for an hour.
    """
    with _steady(root):
        return parse(root / "dvc.lock")


def parse(path: Path) -> dict[str, LockEntry]:
    """Reads one ``dvc.lock`` while DVC's lock is held, or nobody else can run.

    Args:
        path: The file; it need not exist.

    Raises:
        GraphError: See ``read``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return parse_text(text, path)


def parse_text(text: str, path: Path) -> dict[str, LockEntry]:
    """Reads the content of a ``dvc.lock``.

    Args:
        text: The content.
        path: Where it stands, for the error.

    Raises:
        GraphError: See ``read``.
    """
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506 - both are safe loaders
        return {name: _entry(entry) for name, entry in content.get("stages", {}).items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise broken(path, text, str(error)) from error


def check(root: Path, files: Iterable[str]) -> None:
    """Proves that every ``dvc.lock`` can be read.

    Args:
        root: DVC's root folder.
        files: The files of the stages, relative to the root; only a ``dvc.yaml`` has a lock.

    Raises:
        GraphError: See ``read``; all broken files are named.
    """
    locks = {root / Path(file).with_suffix(".lock") for file in files if file.endswith(".yaml")}
    faults = []
    for path in sorted(locks):
        try:
            parse(path)
        except GraphError:
            # Somebody may just have been writing it; he holds DVC's lock.
            try:
                with _steady(root):
                    parse(path)
            except GraphError as error:
                faults.append(error)
    if faults:
        raise GraphError("\n".join(fault.fact for fault in faults), faults[0].hint)


def broken(path: Path, text: str, why: str) -> GraphError:
    """The error for a ``dvc.lock`` that cannot be read.

    Args:
        path: The file.
        text: Its content.
        why: What the reader says.
    """
    there = f"cd {shlex.quote(str(path.parent))} && "
    merge = re.search(r"^(<{7}|={7}|>{7})( |$)", text, re.MULTILINE)
    if not merge:
        return GraphError(
            f"{path} cannot be read: {why}", f"{there}git checkout {path.name} && dvc repro"
        )
    line = text.count("\n", 0, merge.start()) + 1
    return GraphError(
        f"{path} has the conflict markers of a merge in line {line}",
        f"{there}git checkout --theirs {path.name} && dvc repro; "
        f"where they are committed already: {there}rm {path.name} && dvc repro",
    )


@contextmanager
def _steady(root: Path) -> Iterator[None]:
    """Keeps DVC from writing, by a shared hold on the lock file of its repository."""
    guard = root / ".dvc" / "tmp" / "lock"
    if not guard.exists():
        yield
        return
    with guard.open("rb") as file:
        _wait_for(file, guard)
        yield


def _wait_for(file: IO[bytes], guard: Path) -> None:
    began = time.monotonic()
    said = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - began
            if waited > PATIENCE:
                raise StageBusyError(
                    f"somebody else holds {guard}, so dvc.lock cannot be read",
                    "pgrep -af dvc, and wait for that to end",
                ) from None
            if waited > 1 and not said:
                _log.info("waiting for DVC's lock %s, which somebody else holds", guard)
                said = True
            time.sleep(_POLL)
        else:
            return


def _entry(entry: Mapping[str, Any]) -> LockEntry:
    cmd = entry["cmd"]
    return LockEntry(
        cmd=cmd if isinstance(cmd, str) else "\n".join(cmd),
        deps={dep["path"]: dep.get("md5", "") for dep in entry.get("deps", [])},
        params=entry.get("params", {}),
        outs={
            out["path"]: OutEntry(out.get("md5", ""), out.get("size", 0))
            for out in entry.get("outs", [])
        },
    )

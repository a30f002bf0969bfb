"""``dvc.lock`` as plain data: what the last good run of each stage read and wrote."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from housing.errors import GraphError


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
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506 - both are safe loaders
        return {name: _entry(entry) for name, entry in content.get("stages", {}).items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise GraphError(
            f"{path} cannot be read: {error}", "git checkout dvc.lock && dvc status"
        ) from error


@contextmanager
def _steady(root: Path) -> Iterator[None]:
    """Keeps DVC from writing, by a shared hold on the lock file of its repository."""
    guard = root / ".dvc" / "tmp" / "lock"
    if not guard.exists():
        yield
        return
    with guard.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


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

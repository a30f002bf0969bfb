"""The graph of stages as a file beside DVC's temporary files, never older than its sources.

DVC's resolver takes 50 ms for 4 stages and 500 ms for 400, and 0.5 s of import before that; every
task process parses the DAG file. So the resolved stages are kept together with a hash of every
file that shapes them, and with the folders that DVC walked to find those files. Reading back
compares hashes, and looks again into a folder only where its change time differs: folders with
data cost one ``stat`` each, and folders that DVC ignores cost nothing. This module must not import
DVC, so it cannot tell whether a new folder is ignored: it looks into a few new folders itself, and
leaves many of them to DVC.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from housing.engine.files import write_whole

_log = logging.getLogger("housing.engine.execution")

MANIFEST = Path(".dvc/tmp/housing/graph.json")
"""The manifest, below DVC's root."""

_FORMAT = 3
_SHAPING = frozenset({"dvc.yaml", ".dvcignore", ".gitignore", ".dvc", ".git"})
_MAX_NEW = 100
"""Folders that may come to those that DVC walked before DVC is asked which of them it ignores."""

Row = dict[str, Any]
"""One stage: the fields of ``StageNode`` as JSON knows them."""

Folders = dict[str, list[Any]]
"""Change time, entries that shape the graph, and subfolders, by path relative to the root."""


def read(root: Path) -> tuple[list[Row], list[str]] | None:
    """The stages and the files that shape them, where the manifest still holds.

    Args:
        root: DVC's root folder, absolute.

    Returns:
        One row a stage, and the files as `write` got them, sorted; or None where DVC has to
        resolve the stages anew.
    """
    content = _content(root)
    if content is None or _changed_files(root, content):
        return None
    folders = _look_again(root, content)
    if folders is None:
        return None
    if folders != content["folders"]:
        _store(root, content | {"folders": folders})
    return content["stages"], list(content["files"])


def last(root: Path) -> tuple[list[Row], list[str], list[str]] | None:
    """The stages as they were last resolved, although they may have changed since.

    Args:
        root: DVC's root folder, absolute.

    Returns:
        As `read`, and the files that changed since; or None where nothing was kept.
    """
    content = _content(root)
    if content is None:
        return None
    return content["stages"], list(content["files"]), _changed_files(root, content)


def _content(root: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((root / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if content["format"] == _FORMAT else None


def _changed_files(root: Path, content: dict[str, Any]) -> list[str]:
    """The files that are not as they were; an exchanged DVC counts as one."""
    changed = [name for name, known in content["files"].items() if digest(root / name) != known]
    return changed if content["dvc"] == dvc_version() else [*changed, "the version of DVC"]


def write(root: Path, rows: list[Row], sources: Iterable[str], walked: Iterable[str]) -> None:
    """Keeps the resolved stages.

    Args:
        root: DVC's root folder, absolute.
        rows: One row a stage.
        sources: Every file that shapes them, relative to the root or absolute; a file that does
            not exist counts too, for it may appear.
        walked: The folders in which DVC looked for such files, or tried to, relative to the root.
    """
    folders = {name: _scan(root / name) for name in walked}
    content = {
        "format": _FORMAT,
        "dvc": dvc_version(),
        "files": {name: digest(root / name) for name in sorted(set(sources))},
        "folders": folders,
        "walked": len(folders),
        "stages": rows,
    }
    _store(root, content)


def take_along(source: Path, target: Path, config: str) -> None:
    """Gives a copy of a repository the manifest of its original, so that it is not resolved anew.

    Args:
        source: DVC's root folder of the original, absolute.
        target: That of the copy, absolute.
        config: The file, relative to both, that differs in the copy and shapes no stage.
    """
    content = _content(source)
    if content is not None:
        files = content["files"] | {config: digest(target / config)}
        _store(target, content | {"files": files})


def digest(path: Path) -> str | None:
    """Hash of a file's content, or None where there is no such file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except PermissionError:
        return "unreadable"


def dvc_version() -> str | None:
    """Hash of the file in which the installed DVC states its version, without importing DVC."""
    spec = importlib.util.find_spec("dvc")
    return digest(Path(spec.origin).parent / "_version.py") if spec and spec.origin else None


def shapes(name: str) -> bool:
    """Whether an entry of this name, appearing in a folder, can change the graph."""
    return name in _SHAPING or name.endswith(".dvc")


def settled() -> int:
    """A moment, in ns: a file that changed later may change once more with the same time stamp.

    File systems stamp changes by a clock that ticks every 1 to 10 ms.
    """
    return time.time_ns() - 20_000_000


def _look_again(root: Path, content: dict[str, Any]) -> Folders | None:
    """The folders as they are, or None where one of them shapes the graph differently."""
    known: Folders = content["folders"]
    outs = {out for row in content["stages"] for out in row["outs"]}
    fresh: Folders = {}
    for name, row in known.items():
        state = _stat(root / name)
        if state is None and row[1]:
            return None
        if state is None:
            continue
        if state.st_ctime_ns == row[0]:
            fresh[name] = row
            continue
        added = _differs(root, name, row, outs, known)
        if added is None:
            return None
        fresh.update(added)
    return fresh if len(fresh) <= content["walked"] + _MAX_NEW else None


def _differs(
    root: Path, name: str, row: list[Any], outs: set[str], known: Folders
) -> Folders | None:
    """The folder with its new subfolders, or None where the graph may differ."""
    seen = _scan(root / name)
    if seen[1] != row[1]:
        return None
    lost = [_join(name, sub) for sub in set(row[2]) - set(seen[2])]
    if any(known[path][1] for path in known if _below(path, lost)):
        return None
    fresh: Folders = {name: seen}
    for sub in set(seen[2]) - set(row[2]):
        for path, found in _walk(root, _join(name, sub), outs):
            if found[1] or len(fresh) > _MAX_NEW:
                return None
            fresh[path] = found
    return fresh


def _walk(root: Path, name: str, outs: set[str]) -> Iterator[tuple[str, list[Any]]]:
    """Every folder below a new one, itself first; an out holds no ``dvc.yaml`` for DVC."""
    if name in outs:
        return
    found = _scan(root / name)
    yield name, found
    for sub in found[2]:
        yield from _walk(root, _join(name, sub), outs)


def _scan(path: Path) -> list[Any]:
    """Change time (0 where it is too young to trust), shaping entries and subfolders.

    A folder that may not be read has none for us, as for DVC.
    """
    began = settled()
    state = _stat(path)
    if state is None:
        return [0, [], []]
    try:
        with os.scandir(path) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except PermissionError:
        found = []
    changed = state.st_ctime_ns if state.st_ctime_ns < began else 0
    return [
        changed,
        sorted(name for name, _ in found if shapes(name)),
        sorted(name for name, folder in found if folder),
    ]


def _stat(path: Path) -> os.stat_result | None:
    try:
        state = path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    return state if stat.S_ISDIR(state.st_mode) else None


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _below(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _store(root: Path, content: dict[str, Any]) -> None:
    try:
        write_whole(root / MANIFEST, json.dumps(content))
    except OSError as error:  # the graph itself is known: the next reader resolves it again
        _log.warning("the manifest of the graph is not kept: %s", error)

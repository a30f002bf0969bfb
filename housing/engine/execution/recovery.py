"""Putting right what a killed DVC left behind: half a ``dvc.lock``, a stale or broken rwlock.

Both files are rewritten in place. All of this runs under DVC's repository lock, which every writer
of the two files holds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import psutil
import yaml

from housing.engine.files import write_whole

_log = logging.getLogger("housing.engine.execution")

_JOURNAL = Path(".dvc/tmp/housing/journal")
OWN = "housing stage"
"""How the entries of this package in DVC's rwlock begin; the stage and a token follow."""

Entries = dict[str, dict[str, Any]]


@contextlib.contextmanager
def journal(root: Path, lockfile: Path) -> Iterator[None]:
    """Keeps the old ``dvc.lock`` until the new one is written whole.

    Args:
        root: DVC's root folder.
        lockfile: The ``dvc.lock``, or ``.dvc`` file, that is about to be rewritten in place.
    """
    kept = root / _JOURNAL / quote(str(lockfile.relative_to(root)), safe="")
    write_whole(kept, lockfile.read_bytes() if lockfile.exists() else b"")
    try:
        yield
    except Exception:  # a full disk: what is there is half a file
        finish_lockfiles(root)
        raise
    kept.unlink()


def finish_lockfiles(root: Path) -> None:
    """Brings back a file of `journal` whose writer was killed before the last entry was in it."""
    for kept, lockfile in _journals(root):
        if _is_whole(kept, lockfile):
            kept.unlink()
            continue
        if lockfile.exists():
            _log.warning("%s was cut off while it was written: brought back as it was", lockfile)
        if _entries(kept) is None:  # there was no file
            lockfile.unlink(missing_ok=True)
            kept.unlink()
        else:
            kept.replace(lockfile)


def unfinished(root: Path) -> list[Path]:
    """The files that `finish_lockfiles` would bring back; DVC's lock is held."""
    return [lockfile for kept, lockfile in _journals(root) if not _is_whole(kept, lockfile)]


def _journals(root: Path) -> Iterator[tuple[Path, Path]]:
    for kept in (root / _JOURNAL).glob("[!.]*"):
        yield kept, root / unquote(kept.name)


def _is_whole(kept: Path, lockfile: Path) -> bool:
    now = _entries(lockfile)
    return now is not None and (_entries(kept) or set()) <= now


def _entries(file: Path) -> set[str] | None:
    """The stages in a ``dvc.lock``, or the outs in a ``.dvc`` file; None where it is not whole.

    An entry cut off at the end of a line is valid YAML: its stage counts as changed and runs.
    """
    try:
        text = file.read_bytes()
        content = yaml.safe_load(text)
    except (FileNotFoundError, yaml.YAMLError):
        return None
    if not text.endswith(b"\n") or not isinstance(content, dict):
        return None
    outs = [out for out in content.get("outs") or () if isinstance(out, dict)]
    return {*(content.get("stages") or ()), *(str(out.get("path")) for out in outs)}


def drop_empty_runs(runs: Path) -> None:
    """Removes folders of DVC's run cache whose only entry was about to be written.

    DVC fails at such a folder each time it looks for that run.

    Args:
        runs: DVC's run cache, perhaps shared with other repositories.
    """
    empty = [folder for folder in runs.glob("??/*") if not any(folder.iterdir())]
    if not empty:
        return
    time.sleep(1)  # another repository's DVC may just be about to write
    _log.warning("%s: removed %d runs that were not saved to the end", runs, len(empty))
    for folder in empty:
        with contextlib.suppress(OSError):  # filled meanwhile
            folder.rmdir()


def clear_rwlock(root: Path, is_running: Callable[[str], bool]) -> None:
    """Removes the entries of DVC's rwlock whose makers are gone, and a file that is broken.

    DVC only asks whether a process with the recorded id exists: after a restart of a container
    that is a different one, for ever.

    Args:
        root: DVC's root folder.
        is_running: Tells whether somebody runs the stage of this name through this package.
    """
    path = _rwlock(root)
    try:
        content = json.loads(path.read_bytes())
        makers = {(row["pid"], row["cmd"]) for row in _rows(content)}
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        _log.warning("%s is broken (%s): emptied", path, error)
        path.unlink()
        return
    changed = path.stat().st_mtime
    gone = {maker for maker in makers if not _lives(*maker, changed, is_running)}
    if gone:
        _log.warning("%s: removed the entries of ended processes: %s", path, sorted(gone))
        _remove(root, gone)


def somebody_writes(root: Path) -> bool:
    """Whether DVC's rwlock says that a stage is being run or saved, or cannot be read.

    Args:
        root: DVC's root folder.
    """
    try:
        content = json.loads(_rwlock(root).read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return not isinstance(content, dict) or bool(content.get("write"))


def _rows(content: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - read from a file
    write = list(content.get("write", {}).values())
    return write + [row for rows in content.get("read", {}).values() for row in rows]


def _lives(pid: int, cmd: str, changed: float, is_running: Callable[[str], bool]) -> bool:
    """Whether the maker of an entry is still at work; a doubt counts as yes.

    Args:
        pid: The recorded process.
        cmd: Its recorded command line: ``sys.argv``, so without the interpreter.
        changed: When the file last changed: later than the entry was made.
        is_running: See ``clear_rwlock``.
    """
    if cmd.startswith(f"{OWN} "):
        return is_running(unquote(cmd.split()[2]))
    try:
        process = psutil.Process(pid)
        if process.create_time() > changed + 1:
            return False
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    # A process may have given itself a title; only a command line that is whole can disagree.
    whole = len(words) > 1
    return not whole or " ".join(words).endswith(" ".join(cmd.split()[1:]))


def _remove(root: Path, gone: set[tuple[int, str]]) -> None:
    def stays(row: dict[str, Any]) -> bool:
        return (row["pid"], row["cmd"]) not in gone

    with _edited(root) as content:
        content["write"] = {path: row for path, row in content["write"].items() if stays(row)}
        read = {path: list(filter(stays, rows)) for path, rows in content["read"].items()}
        content["read"] = {path: rows for path, rows in read.items() if rows}


class OwnEntries:
    """The entries of one run in DVC's rwlock, kept over the time in which its command runs.

    DVC fails when it cannot find them again, and the result of the command is lost: after
    somebody deleted the file, as DVC advises, or a DVC in another container, which does not see
    our process, cleaned up.

    Args:
        root: DVC's root folder.
        token: Names the run; without one there are no entries.
    """

    def __init__(self, root: Path, token: str) -> None:
        self._root = root
        self._token = token
        self._noted: Entries = {}

    def note(self) -> None:
        """Notes the entries; the caller is about to let go of DVC's lock."""
        path = _rwlock(self._root)
        if self._token and path.exists():
            self._noted = json.loads(path.read_bytes())

    def bring_back(self) -> None:
        """Enters again what is missing; the caller holds DVC's lock again."""
        write = {path: row for path, row in self._noted.get("write", {}).items() if self._mine(row)}
        read = {
            path: mine
            for path, rows in self._noted.get("read", {}).items()
            if (mine := [row for row in rows if self._mine(row)])
        }
        if not write and not read:
            return
        clear_rwlock(self._root, lambda _: True)
        with _edited(self._root) as content:
            content["write"].update(write)
            for path, rows in read.items():
                known = content["read"].setdefault(path, [])
                known += [row for row in rows if row not in known]

    def _mine(self, row: dict[str, Any]) -> bool:
        return str(row["cmd"]).endswith(self._token) and row["pid"] == os.getpid()


def _rwlock(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "rwlock"


@contextlib.contextmanager
def _edited(root: Path) -> Iterator[Entries]:
    path = _rwlock(root)
    content = {"read": {}, "write": {}, **_read(path)}
    yield content
    write_whole(path, json.dumps(content).encode())


def _read(path: Path) -> Entries:
    try:
        content: Entries = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return content

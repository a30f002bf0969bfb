"""The background processes of this project: which of them live, and how to end them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from housing.engine.files import write_whole
from housing.errors import HousingError

STATE = Path(".housing/up")
"""Folder, below the project, of what `housing up` notes."""

_PROCESSES = STATE / "processes.json"
_KILLED = 10.0
"""Seconds in which a killed process is gone."""


@dataclass(frozen=True)
class Running:
    """A process that was started in a session of its own.

    Attributes:
        pid: Its id.
        began: When it began, in the kernel's ticks since the boot: this tells it from a later
            process with the same id.
        starts: How often it was started since `housing up`.
    """

    pid: int
    began: int
    starts: int = 1

    @classmethod
    def of(cls, pid: int, starts: int = 1) -> Running:
        """The process with this id, which has just been started."""
        return cls(pid, _began(pid) or 0, starts)

    @property
    def alive(self) -> bool:
        """Whether the process itself lives."""
        return _began(self.pid) == self.began

    def family(self) -> list[psutil.Process]:
        """Every process of its session; also where itself was killed and they were left."""
        if _began(self.pid) not in {None, self.began}:
            return []  # the id belongs to somebody else by now
        return [process for process in psutil.process_iter() if _session(process) == self.pid]

    def listens(self, port: int) -> bool:
        """Whether one of its processes is who listens on a port of this machine."""
        for process in self.family():
            with suppress(psutil.Error):
                for place in process.net_connections("tcp"):
                    if place.status == psutil.CONN_LISTEN and place.laddr.port == port:
                        return True
        return False

    def signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.alive:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(self.pid).send_signal(number)


def running(root: Path) -> dict[str, Running]:
    """What `housing up` noted of its processes, by name; some may have died since.

    Args:
        root: The project's folder.
    """
    return {name: Running(**item) for name, item in read_json(root / _PROCESSES).items()}


def note_running(root: Path, processes: Mapping[str, Running]) -> None:
    """Notes the processes, for `housing down`.

    Args:
        root: The project's folder.
        processes: Each process by its name.
    """
    content = {name: vars(process) for name, process in processes.items()}
    write_whole(root / _PROCESSES, json.dumps(content))


def forget_running(root: Path) -> None:
    """Removes the note.

    Args:
        root: The project's folder.
    """
    (root / _PROCESSES).unlink(missing_ok=True)


def end(heads: Iterable[Running], number: int, patience: float) -> None:
    """Ends processes with all of their sessions: themselves politely, what they leave by force.

    Args:
        heads: What to end.
        number: The signal to begin with.
        patience: Seconds until those that still live are killed, too.

    Raises:
        HousingError: A process cannot be killed.
    """
    heads = list(heads)
    for head in heads:
        head.signal(number)
    _wait(lambda: not any(head.alive for head in heads), patience)
    for head in heads:
        for process in head.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
    if not _wait(lambda: not any(head.family() for head in heads), _KILLED):
        left = sorted(process.pid for head in heads for process in head.family())
        raise HousingError(f"processes {left} do not end", f"ps -fp {','.join(map(str, left))}")


def read_json(path: Path) -> dict[str, Any]:
    """What a file of ours holds, or nothing where there is none.

    Args:
        path: The file.

    Raises:
        HousingError: The file is broken.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise HousingError(f"{path} is broken: {error}", f"rm {path}") from error
    return content


def _wait(holds: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _began(pid: int) -> int | None:
    """When a process began, or None where it has ended. psutil's own time moves with the clock."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program, in parentheses, may hold anything.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _session(process: psutil.Process) -> int:
    """The session's id, or -1 where the process has ended."""
    try:
        return -1 if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.Error, OSError):
        return -1

"""Runs a stage's command in place of DVC's shell, and ends every process that it started.

Usage: ``supervise.py OWNER RUN_FOLDER LOCK SHELL ARGUMENTS...``

DVC's own child outlives a killed DVC, and a second try then writes the same outs beside it. So two
processes stand between them: the outer one is DVC's child, the inner one heads a session of its
own and starts the real shell. Each adopts what its descendants leave behind, ends it when told to
(TERM, INT), when its parent dies by whatever signal, and when the command is over. Killing one of
the two by SIGKILL leaves the other. The outer one holds the stage's lock until nothing is left.

It only needs the standard library and starts in 20 ms (``python -IS``). It writes to
``RUN_FOLDER``: its process id, and a line of JSON when a command starts and when it ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable

GRACE = 2.0
"""Seconds between TERM and KILL: a task that is killed has 5 s before Airflow kills it."""

STOPPED = 128 + signal.SIGTERM

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_WATCHED = _STOP | {signal.SIGCHLD}
_LOOK = 0.5  # seconds between two looks at the parent, should its death signal get lost
_POLL = 0.02


def main(owner: int, folder: str, lock: str, shell: str, arguments: list[str]) -> int:
    """The outer process: returns the exit code, or dies by the signal that ended the command."""
    _stand_under(owner)
    _note(folder, {"pid": os.getpid()})
    with open(lock, "a") as held:  # noqa: PTH123 - pathlib would double the start-up time
        if not _take(held.fileno(), owner) or os.path.exists(f"{folder}/stop"):  # noqa: PTH110 - the same
            return STOPPED
        began = time.monotonic()
        _note(folder, {"command": arguments[-1]})
        outer = os.getpid()
        child = os.fork() or _exit_as(_inner(outer, shell, arguments))
        status = _watch(child, owner, lambda: [child])
        seconds = round(time.monotonic() - began, 3)
        _note(folder, {"code": os.waitstatus_to_exitcode(status), "seconds": seconds})
    return _leave(status)


def _inner(outer: int, shell: str, arguments: list[str]) -> int:
    os.setsid()
    _stand_under(outer)
    inner = os.getpid()
    child = os.fork() or _become_shell(inner, shell, arguments)
    return _leave(_watch(child, outer, _descendants))


def _become_shell(inner: int, shell: str, arguments: list[str]) -> int:
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != inner:
        os._exit(STOPPED)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Nobody answers: a task's own standard input is a socket to Airflow.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if shell:
        os.environ["SHELL"] = shell
    else:
        os.environ.pop("SHELL", None)
    try:
        program = shell or "/bin/sh"
        os.execv(program, [program, *arguments])  # noqa: S606 - it is the shell
    except OSError as error:
        sys.stderr.write(f"cannot start {shell}: {error}\n")
        sys.stderr.flush()
        os._exit(127)


def _stand_under(parent: int) -> None:
    """Adopts orphans, and gets TERM when its own parent dies; exits if that is dead already."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    for number in _WATCHED:
        signal.signal(number, signal.SIG_DFL)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(STOPPED)


def _take(file: int, parent: int) -> bool:
    """Waits for the lock that the supervisor of a killed try still holds; False: stop instead."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if signal.sigtimedwait(_STOP, _POLL) or os.getppid() != parent:
                return False
        else:
            return True


def _watch(child: int, parent: int, first: Callable[[], list[int]]) -> int:
    """Waits for the child, or for the order to stop; either way nothing of it is left behind.

    Args:
        child: Process to wait for.
        parent: Process that must live.
        first: Gives the processes that get TERM; the rest gets KILL after the grace.

    Returns:
        The child's wait status.
    """
    while True:
        caught = signal.sigtimedwait(_WATCHED, _LOOK)
        if (caught and caught.si_signo in _STOP) or os.getppid() != parent:
            _end(first())
            return STOPPED << 8
        status = _reap(child)
        if status is not None:
            _end(_descendants())
            return status


def _end(first: Iterable[int]) -> None:
    """Ends all processes below this one: TERM to ``first``, KILL to what is left after `GRACE`."""
    _send(first, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while left := _descendants():
        if time.monotonic() > deadline:
            _send(left, signal.SIGKILL)
        time.sleep(_POLL)
        _reap(0)
    _reap(0)


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _reap(child: int) -> int | None:
    """Collects every ended child; the status of the given one, if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _descendants() -> list[int]:
    """Every process below this one, by the parents that ``/proc`` tells."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - as above
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _leave(status: int) -> int:
    """The exit code of a wait status; this process dies of the signal that the child died of."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), -code)
    return code


def _exit_as(code: int) -> int:
    os._exit(code)


def _note(folder: str, line: dict[str, object]) -> None:
    with open(f"{folder}/notes", "a") as file:  # noqa: PTH123 - as above
        file.write(json.dumps(line) + "\n")


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]))

"""Runs a service that runs tasks: ``graceful.py COMMAND ...``. A stop ends its tasks, too.

As long as it lives, the workspace is locked: `init` of another image refuses to bring new code or
to migrate meanwhile. Where that happened already, the service of the old image does not start.
A worker that has workspaces of its own (`HOUSING_WORKSPACES`) has nothing to lock: it runs the code
of a commit.

Airflow's scheduler and Celery worker answer SIGTERM by waiting for their running tasks, for as long
as those take; Docker's patience would end that with SIGKILL. So the tasks get SIGTERM as well: each
ends its stage's command, reports, and is tried again when the service is back.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import psutil

TASK = re.compile(r"airflow worker -- [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The process title that Airflow's SDK gives to a running task: its id."""

PATIENCE = 15.0
"""Seconds for the service to end after its last task. Measured: under 2, but a scheduler that is
interrupted at the wrong moment waits for ever."""

LOST = 3.0
"""Seconds after a signal from when on a task that begins shows that the service goes on as before:
it lost the signal, whose exception Python drops where it comes in the middle of a destructor. Tasks
that waited for a free worker begin sooner."""

IMAGE = Path(__file__).resolve().parent.parent.with_suffix(".sha256")
"""Names the content of this image."""


def lock_workspace(root: Path) -> None:
    """Waits until no `init` is at work, and keeps the next one from replacing what we run.

    The file that holds the lock stays open for as long as this process lives.
    """
    folder = root / ".dvc/tmp"
    held = os.open(folder / "stack.lock", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    stamp = folder / "stack.image"
    if not stamp.exists() or stamp.read_text() != IMAGE.read_text():
        sys.exit(
            "error: the workspace was prepared by another image than this one\n"
            "  next: make stack-down, then make stack"
        )


def tasks(service: int) -> list[psutil.Process]:
    """The running tasks of a service, by its process id, and nobody else's."""
    found = []
    try:
        below = psutil.Process(service).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    for process in below:
        try:
            if TASK.fullmatch(" ".join(process.cmdline()).strip()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def end(service: subprocess.Popen[bytes]) -> None:
    """Ends the tasks, also those that waited for a free worker, and then the service."""
    asked: set[psutil.Process] = set()
    last_task = last_signal = time.monotonic()
    service.terminate()
    while service.poll() is None:
        running = set(tasks(service.pid))
        if running - asked and time.monotonic() > last_signal + LOST:
            service.terminate()
            last_signal = time.monotonic()
        for process in running - asked:
            process.terminate()
        asked |= running
        if running:
            last_task = time.monotonic()
        if time.monotonic() > last_task + PATIENCE:
            print("the service did not end: killed", flush=True)
            service.kill()
        time.sleep(0.5)


class Stop(Exception):  # noqa: N818 - a request, not an error
    """Docker asks to stop."""


def main() -> int:
    """Runs the command and returns its exit code; 0 after a stop."""
    if "HOUSING_WORKSPACES" not in os.environ:
        lock_workspace(Path(os.environ["HOUSING_ROOT"]))

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Stop

    signal.signal(signal.SIGTERM, stop)
    service = subprocess.Popen(sys.argv[1:])
    try:
        return service.wait()
    except Stop:
        end(service)
        return 0


if __name__ == "__main__":
    sys.exit(main())

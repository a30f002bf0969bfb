"""What the folder of one run holds on a host, and whether a task works in it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COPY, LOCKS, PARTIAL, NOTE = "copy", "locks", "partial", "run.json"
INSIDE = "inside"
"""File that tasks hold shared while they work in the copy."""


@contextmanager
def left_by_all(place: Path) -> Iterator[bool]:
    """Whether no task works in the copy of a run; if so, none begins meanwhile.

    Args:
        place: The folder of the run.
    """
    with (place / INSIDE).open("w") as inside:
        try:
            fcntl.flock(inside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True

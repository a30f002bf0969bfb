"""Explains a full disk: which disk, how much a stage needs, and what can be removed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from housing.engine.errors import DiskFullError, StageFailedError
from housing.engine.execution.stage_result import size

_FULL = re.compile("no space left on device|disk is full|disk quota exceeded", re.IGNORECASE)
_NO_LINK = re.compile("no possible cache link types", re.IGNORECASE)
_NEXT_TO_NOTHING = 16 * 1024**2
"""Bytes: with less than this free, a command that failed may well have met the end of the disk."""


@contextmanager
def told(stage: str, places: list[Path], outs: Iterable[Path]) -> Iterator[None]:
    """Turns an error that a full disk caused into one that names the disk.

    DVC's own errors leave out the path, and often the error number.

    Args:
        stage: The stage's name.
        places: What is written to, filled by the caller as it gets to know them.
        outs: What the stage writes.

    Raises:
        DiskFullError: A disk was full while DVC worked.
        StageFailedError: The command failed; its hint names the disk, if one is full.
    """
    try:
        yield
    except StageFailedError as error:
        place, free, _ = _fullest(places)
        if free > _NEXT_TO_NOTHING:
            raise
        hint = f"the disk of {place} has {size(free)} left: {_what_may_go(place)}"
        raise StageFailedError(error.fact, hint, error.exit_code) from error
    except Exception as error:
        place, free, total = _fullest(places)
        needed = sum(map(_size, outs))
        said = _chain(error)
        # DVC says of a copy out of its cache that met the end of the disk only that it failed.
        if not is_full(error) and not (_NO_LINK.search(said) and free < needed):
            raise
        raise DiskFullError(
            f"stage {stage}: the disk of {place} is full ({size(free)} of {size(total)} free); "
            f"the outs take {size(needed)}, in the workspace and in DVC's cache",
            _what_may_go(place),
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full; `shutil` says so in the text only.

    Args:
        error: What the operating system, or a library, raised.
    """
    return bool(_FULL.search(_chain(error)))


def _chain(error: BaseException | None) -> str:
    causes: list[BaseException] = []
    while error is not None and error not in causes:  # DVC can make an error its own cause
        causes.append(error)
        error = error.__cause__ or error.__context__
    return "\n".join(map(str, causes))


def _fullest(places: Iterable[Path]) -> tuple[Path, int, int]:
    """The place on the disk with the least space: the place, its free bytes, all its bytes."""
    by_disk = {place.stat().st_dev: place for place in reversed(list(places)) if place.exists()}
    usages = [(place, shutil.disk_usage(place)) for place in by_disk.values()]
    place, usage = min(usages, key=lambda pair: pair[1].free)
    return place, usage.free, usage.total


def _what_may_go(place: Path) -> str:
    return (
        "dvc gc --workspace (takes from DVC's cache what this workspace does not use); "
        f"to see what is large: du -xhd2 {place} | sort -h | tail"
    )


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())

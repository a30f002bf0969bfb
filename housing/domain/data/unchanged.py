"""Whether a file is still the one that was opened: half a copy must not pass for the whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from housing.errors import FileChangedError


@dataclass(frozen=True)
class Stamp:
    """Which state of a file this is: every write, and every other file of the name, differs.

    Attributes:
        device: Where the file lies.
        inode: Its number there.
        size: Bytes.
        modified: Time of the last write, in nanoseconds.
    """

    device: int
    inode: int
    size: int
    modified: int


def stamp(path: Path) -> Stamp:
    """Looks at a file, or at the one that a link leads to.

    Raises:
        OSError: There is none.
    """
    found = path.stat()
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def require_unchanged(path: Path, opened: Stamp, name: str = "") -> None:
    """Makes sure that nobody wrote to a file, replaced it, or took it away.

    Args:
        path: The file.
        opened: Its state when it was opened.
        name: Its name in messages; the path by default.

    Raises:
        FileChangedError: Somebody did.
    """
    name = name or str(path)
    hint = "wait until it is there as a whole, then the same again; `housing deliver` copies safely"
    try:
        now = stamp(path)
    except FileNotFoundError as error:
        raise FileChangedError(f"{name} was taken away while it was read", hint) from error
    if now != opened:
        raise FileChangedError(
            f"{name} changed while it was read: {opened.size:,} bytes before, {now.size:,} after",
            hint,
        )

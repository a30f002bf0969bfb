"""Files that are written whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lets the block write a file under a hidden name, and then gives it its own in one step.

    A reader sees the old content or the new one, also after a kill, a full disk or a power cut.
    Two writers at once do not mix: the last one wins. Missing folders are made.

    Args:
        path: The file.

    Yields:
        The hidden path, in the same folder. Where the block raises, nothing is left of it.

    Raises:
        OSError: The file could not be written, for example on a full disk; it names the file.
    """
    # Unique among containers, too, and short: file names have limits.
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        flush(partial)
        partial.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in {None, str(partial)}:
            raise
        # Where the write itself fails, Python names no file; the hidden name says nothing either.
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file, whole or not at all: see `replacing`.

    Args:
        path: The file.
        content: Its content; text is written as UTF-8.

    Raises:
        OSError: The file could not be written, for example on a full disk; it names the file.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def flush(path: Path) -> None:
    """Sends a file's content, or a folder's entries, to the disk.

    Some file systems keep back "disk full" until then.

    Args:
        path: The file or folder.

    Raises:
        OSError: The disk did not take it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

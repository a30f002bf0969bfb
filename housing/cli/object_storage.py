"""Files in object storage: a copy while one is read, and results that get there whole.

A copy, and not a stream into the reader: a file is read twice, once for its hash and once for its
rows, and both have to see the same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from housing.engine.files import replacing
from housing.errors import DataError, StorageError

FOLDER = Path(".housing/objects")
"""Folder, below the project, of the copies."""


@contextmanager
def on_disk(name: str, root: Path) -> Iterator[Path]:
    """The file of a name: itself, or a copy of an object, which goes at the end.

    An object has the same copy each time, so that its prices have the same names. The second of two
    calls for one object waits for the first.

    Args:
        name: A path, or an address such as ``s3://bucket/june.csv``.
        root: The project's folder.

    Raises:
        DataError: There is no such object.
        StorageError: The storage does not answer, or lets nobody in.
    """
    if not is_address(name):
        yield Path(name)
        return
    folder, _, last = name.rpartition("/")
    copy = root / FOLDER / hashlib.sha256(folder.encode()).hexdigest()[:8] / last
    copy.parent.mkdir(parents=True, exist_ok=True)
    with copy.with_name(f"{last}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with _told(name), replacing(copy) as partial:
                fs, path = _opened(name)
                fs.get_file(path, str(partial))
            yield copy
        finally:
            copy.unlink(missing_ok=True)


def put(files: list[Path], folder: str) -> list[str]:
    """Takes files to a folder of object storage, one after the other; each gets there whole.

    Args:
        files: The files.
        folder: Its address.

    Returns:
        Their addresses.

    Raises:
        StorageError: The storage does not answer, or lets nobody in.
    """
    there = []
    for file in files:
        address = f"{folder.rstrip('/')}/{file.name}"
        with _told(address):
            fs, path = _opened(address)
            fs.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
            fs.put_file(str(file), path)
        there.append(address)
    return there


def is_address(name: str) -> bool:
    """Whether a name is the address of an object, or of a folder of them."""
    return "://" in name


def _opened(name: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # with DVC; each storage's own package comes on demand

    fs, path = url_to_fs(name)  # type: ignore[no-untyped-call]  # fsspec has no types
    return fs, str(path)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"there is no object {name}", "check the address") from error
    except ImportError as error:
        scheme = name.partition("://")[0]
        raise StorageError(f"{name}: {error}", f"pip install 'dvc[{scheme}]'") from error
    except Exception as error:  # each storage's library raises its own
        fact = f"{name} cannot be reached: {type(error).__name__}: {error}"
        raise StorageError(
            fact, "give it its credentials: for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error

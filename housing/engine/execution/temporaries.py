"""Names DVC's temporary files after the run that makes them, to remove those of a killed run.

A killed DVC, or one whose disk is full, leaves them in its cache and beside outs. By DVC's own
names they cannot be told from those of another DVC that is writing at this moment.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from secrets import token_urlsafe

import dvc_objects.fs.utils as namer

_log = logging.getLogger("housing.engine.execution")


@contextlib.contextmanager
def named(run: str) -> Iterator[None]:
    """Lets DVC name its temporary files after a run while this lasts.

    Args:
        run: The run's name, fit for a file name.
    """
    # What DVC's `tmp_fname` takes for the part of a name that differs.
    namer.token_urlsafe = lambda nbytes=None: f"{_prefix(run)}{token_urlsafe(nbytes)}"  # type: ignore[attr-defined]  # DVC publishes no types
    try:
        yield
    finally:
        namer.token_urlsafe = token_urlsafe  # type: ignore[attr-defined]  # as above


def sweep(run: str, cache: Path, outs: Iterable[Path]) -> None:
    """Removes the temporary files of a run that is over.

    Args:
        run: Its name.
        cache: The root of DVC's cache.
        outs: The outs of its stage.
    """
    folders = [cache / "files/md5", *cache.glob("files/md5/??"), *cache.glob("runs/??/*")]
    for out in outs:
        folders += [out.parent, *(path for path in (out, *out.rglob("*")) if path.is_dir())]
    pattern = f"*.{_prefix(run)}*.tmp"
    found = {path for folder in folders for path in folder.glob(pattern)}
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        _log.warning("removed %d temporary files of %s", len(found), run)


def _prefix(run: str) -> str:
    return f"housing-{run}-"

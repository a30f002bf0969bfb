"""Keeps the DVC cache that all isolated runs of a host share below a limit, by DVC's own ``gc``."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from housing.engine.airflow import isolation
from housing.engine.airflow.run_place import COPY, left_by_all
from housing.engine.errors import OptionsError

_log = logging.getLogger(__name__)

LIMIT = "HOUSING_CACHE_GB"
"""Variable: how large the cache may get, in GB (10^9 bytes); by default half of its disk."""

_GB = 10**9


def bound(copy: Path, others: Sequence[Path]) -> None:
    """Removes from the cache what no run on this host uses, where the cache is above its limit.

    Everything in it is in the remote as well, so that a later run fetches what it needs again.
    Nothing is removed while a task works on this host: it may just have cached what its
    ``dvc.lock`` does not name yet. Where ``dvc gc`` fails, the log says so, and the task goes on.

    Args:
        copy: The workspace that was just made; the caller keeps everybody from making another.
        others: The places of the other runs on this host.

    Raises:
        OptionsError: The limit is no number.
    """
    cache = isolation.host_folder() / "cache"
    limit, size = _limit(cache), _size(cache)
    if size <= limit:
        return
    with _idle(others) as idle:
        if not idle:
            _log.info("the cache holds %.1f GB; other tasks work, so it stays", size / _GB)
            return
        kept = [str(place / COPY) for place in others if (place / COPY / ".dvc").is_dir()]
        command = [sys.executable, "-m", "dvc", "--cd", str(copy), "gc", "--workspace", "--force"]
        command += ["--quiet", *(["--projects", *kept] if kept else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        _log.warning("%s failed: %s", " ".join(command), done.stderr.strip())
    now = _size(cache)
    _log.info("dvc gc: the cache held %.1f GB and holds %.1f GB now", size / _GB, now / _GB)
    if now > limit:
        _log.warning(
            "the runs of now need %.1f GB of cache, and %s allows %.1f",
            now / _GB,
            LIMIT,
            limit / _GB,
        )


def _limit(cache: Path) -> float:
    """Bytes."""
    given = os.environ.get(LIMIT, "")
    try:
        return float(given) * _GB if given else shutil.disk_usage(_there(cache)).total / 2
    except ValueError as error:
        raise OptionsError(f"{LIMIT}={given} is no number", f"export {LIMIT}=100") from error


def _there(path: Path) -> Path:
    return path if path.exists() else _there(path.parent)


def _size(folder: Path) -> int:
    """Bytes on the disk."""
    return sum(
        os.lstat(os.path.join(place, name)).st_blocks * 512  # noqa: PTH118 - 100,000 files
        for place, _, names in os.walk(folder)
        for name in names
    )


@contextmanager
def _idle(places: Sequence[Path]) -> Iterator[bool]:
    """Whether no task works in these places; none begins meanwhile."""
    with ExitStack() as stack:
        yield all(stack.enter_context(left_by_all(place)) for place in places)

"""Proof by content of what DVC takes on trust: its cache, and files that it has hashed before.

DVC takes an object in its cache for whole when its mode is 0444, and a file for unchanged when its
inode, size and time of change are. A disk that flips a bit changes none of these.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_data.hashfile.hash import file_md5, hash_file
from dvc_data.hashfile.state import StateNoop
from dvc_objects.errors import ObjectFormatError

from housing.engine.execution import locks, reasons

if TYPE_CHECKING:
    from dvc.repo import Repo

_log = logging.getLogger("housing.engine.execution")

SWITCH = "HOUSING_VERIFY"
"""Variable that turns the proof off where it is ``0``."""


def wanted() -> bool:
    """Whether to prove deps before a command, and outs before they are restored."""
    return os.environ.get(SWITCH) != "0"


@contextmanager
def hashed_anew(repo: Repo) -> Iterator[None]:
    """Lets DVC hash every file that it looks at, whatever it knows of it.

    Args:
        repo: DVC's repository.
    """
    stores = _stores(repo)
    states = [store.state for store in stores]
    for store in stores:
        store.state = StateNoop()
    try:
        yield
    finally:
        for store, state in zip(stores, states, strict=True):
            store.state = state


def prove_restores(repo: Repo) -> None:
    """Lets DVC restore outs only from objects whose content fits their hash.

    A damaged object is removed from the cache, and the command runs instead.

    Args:
        repo: DVC's repository, for as long as it is open.
    """
    restore: Callable[..., None] = repo.stage_cache.restore

    def proved(*args: Any, **options: Any) -> None:  # noqa: ANN401 - DVC's own, passed on
        stores = _stores(repo)
        for store in stores:
            # DVC asks more than once.
            store.check = functools.cache(functools.partial(_check, store))
        try:
            restore(*args, **options)
        finally:
            for store in stores:
                del store.check

    repo.stage_cache.restore = proved  # type: ignore[method-assign]  # of this one object


def _stores(repo: Repo) -> list[Any]:
    return [repo.cache.legacy, repo.cache.local]


def _check(store: Any, oid: str, check_hash: bool = True) -> Any:  # noqa: ANN401, ARG001 - DVC's own signature, and DVC publishes no types
    path = store.oid_to_path(oid)
    meta, actual = hash_file(path, store.fs, store.hash_name)
    if actual.value != oid.removesuffix(".dir"):
        _log.warning("%s is damaged, so it is removed from the cache", path)
        store.fs.remove(path)
        raise ObjectFormatError(f"{path} is damaged")
    return meta


def drop_damaged(repo: Repo, objects: Iterable[Any]) -> set[Any]:
    """Removes objects from the cache whose content does not fit their hash.

    Args:
        repo: DVC's repository.
        objects: DVC's hashes of the objects; one that is not in the cache is passed over.

    Returns:
        The hashes of those that were removed.
    """
    found = set()
    for one in objects:
        store = repo.cache.legacy if one.name == repo.cache.legacy.hash_name else repo.cache.local
        try:
            _check(store, one.value)
        except FileNotFoundError:
            continue
        except ObjectFormatError:
            found.add(one)
    return found


def damaged_objects(root: Path) -> tuple[int, list[Path]]:
    """Looks at the whole cache.

    Args:
        root: DVC's root folder.

    Returns:
        How many objects there are, and those whose content does not fit their hash.
    """
    with locks.open_repo(root, lambda: None) as repo:
        cache = Path(repo.cache.local.path)
    objects = [path for path in cache.glob("??/*") if path.suffix != ".tmp"]
    return len(objects), [
        path
        for path in objects
        if file_md5(str(path)) != f"{path.parent.name}{path.name}".removesuffix(".dir")
    ]


def damaged_outs(root: Path) -> list[str]:
    """The outs in the workspace that DVC takes for unchanged and that are not.

    Args:
        root: DVC's root folder.
    """
    found = []
    with locks.open_repo(root, lambda: None) as repo, locks.locked(repo):
        outs: list[Any] = [out for stage in repo.index.stages for out in stage.outs if out.exists]
        for out in outs:
            if out.changed_checksum():
                continue  # DVC says so itself
            with hashed_anew(repo):
                if out.changed_checksum():
                    found.append(reasons.path_of(out))
    return found

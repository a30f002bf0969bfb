"""Outs of stages that ``dvc.yaml`` no longer has, in a folder that another stage reads.

DVC leaves the file of a removed stage where it is, and a stage that depends on the folder would
read and record it: here, but in no fresh clone, where the file does not exist.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from housing.engine.execution import lockfile
from housing.engine.graph import manifest

if TYPE_CHECKING:
    from dvc.stage import Stage

_log = logging.getLogger("housing.engine.execution")


def remove(stage: Stage) -> None:
    """Takes the outs of removed stages out of the folders that a stage depends on.

    Only what ``dvc.lock`` records is removed, with these very bytes, and with a copy in DVC's
    cache: anything else is somebody's own.

    Args:
        stage: The stage, before it is compared with ``dvc.lock``; DVC's lock is held.
    """
    folders = [Path(dep.fs_path) for dep in stage.deps if Path(dep.fs_path).is_dir()]
    for file, md5 in _orphans(stage) if folders else ():
        inside = any(file.is_relative_to(folder) for folder in folders)
        if inside and file.is_file() and _md5(file) == md5 and _is_cached(stage, md5):
            file.unlink()
            _log.info("removed %s: no stage makes it any more; DVC's cache has it", file)


def _orphans(stage: Stage) -> Iterator[tuple[Path, str]]:
    """Outs that ``dvc.lock`` knows and no stage of today makes, each with its hash."""
    lock = Path(stage.path).with_suffix(".lock")
    entries = lockfile.parse(lock)
    # DVC's index resolves all stages again, for as long as all else that an unchanged stage costs.
    if entries.keys() <= _known(stage):
        return
    index = stage.repo.index
    present = {other.name for other in index.stages if other.path == stage.path}
    made = {out.fs_path for out in index.outs}
    for name, entry in entries.items():
        for path, out in entry.outs.items() if name not in present else ():
            file = lock.parent / path
            if str(file) not in made:
                yield file, out.md5


def _known(stage: Stage) -> set[str]:
    """Names of the stages in the same ``dvc.yaml``, where the manifest holds; else none."""
    root = Path(stage.repo.root_dir)
    rows, _ = manifest.read(root) or ([], [])
    return {row["name"].rpartition(":")[2] for row in rows if str(root / row["file"]) == stage.path}


def _is_cached(stage: Stage, md5: str) -> bool:
    return Path(stage.repo.cache.local.oid_to_path(md5)).is_file()


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(
            content,
            lambda: hashlib.md5(usedforsecurity=False),  # DVC's choice
        ).hexdigest()

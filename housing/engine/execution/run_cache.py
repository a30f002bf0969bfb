"""What DVC's cache has for a stage: asked without restoring it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dvc.stage.cache import _get_cache_hash
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import ParseError, load_yaml
from dvc_data.hashfile.hash_info import HashInfo

from housing.engine.execution import reasons

if TYPE_CHECKING:
    from dvc.stage import Stage

    from housing.engine.execution.stage_result import Change


def outs(stage: Stage, why: Iterable[Change], expected: Mapping[str, str]) -> dict[str, str] | None:
    """The outs that DVC would restore instead of running the stage's command.

    Args:
        stage: The stage, out of date; DVC's lock is held.
        why: The reasons.
        expected: Hash that a dep will have by then, by its path, where it is another than now.

    Returns:
        Hash of each out by its path, or None where the command would run.
    """
    if not _may_have_runs(stage):
        return None
    if {change.kind for change in why} == {"out"}:
        # Only outs are gone: the last run's come back.
        entry: dict[str, Any] | None = to_single_stage_lockfile(stage)
    else:
        entry = _last_run(stage, expected)
    if entry is None:
        return None
    # DVC's own way to ask whether all of it is in the cache.
    cached: Any = stage.repo.stage_cache._create_stage(entry, wdir=stage.wdir)
    if not cached.outs_cached():
        return None
    found = {out.def_path: out.hash_info.value for out in cached.outs}
    return {reasons.path_of(out): found[out.def_path] for out in stage.outs}


def _may_have_runs(stage: Stage) -> bool:
    """Whether DVC keeps runs of such a stage at all."""
    local = all(dep.protocol == "local" for dep in stage.deps) and all(
        out.protocol == "local" and out.is_in_repo and not out.persist for out in stage.outs
    )
    return local and bool(stage.cmd and stage.deps and stage.outs)


def _last_run(stage: Stage, expected: Mapping[str, str]) -> dict[str, Any] | None:
    """The newest run of the stage on what it will read: as ``dvc.lock`` would note it."""
    there = to_single_stage_lockfile(as_read(stage, expected))
    key = _get_cache_hash(there, key=True)  # type: ignore[no-untyped-call]  # DVC's
    folder = Path(stage.repo.stage_cache._get_cache_dir(key))
    runs = list(folder.iterdir()) if folder.is_dir() else []
    if not runs:
        return None
    try:
        newest = max(runs, key=lambda path: path.stat().st_mtime)
        entry: dict[str, Any] = load_yaml(newest)  # type: ignore[no-untyped-call]  # DVC's
    except ParseError:
        return None  # DVC removes it and runs the command
    return entry


def as_read(stage: Stage, expected: Mapping[str, str] = MappingProxyType({})) -> Any:  # noqa: ANN401 - DVC publishes no types
    """A copy of a stage with the present hashes of its deps; the stage keeps those of its last run.

    Args:
        stage: The stage.
        expected: Hash that a dep will have by then, by its path, where it is another than now.
    """
    read = copy.copy(stage)
    read.deps = [_with_hash(dep, expected.get(reasons.path_of(dep))) for dep in stage.deps]
    return read


def _with_hash(dep: Any, md5: str | None) -> Any:  # noqa: ANN401 - as above
    now = copy.copy(dep)
    if md5 is None:
        now.save()
    else:
        now.hash_info = HashInfo(dep.hash_name, md5)
    return now

"""Tells by ``dvc.lock`` alone whether a stage is unchanged, and brings its deps where it is not.

DVC's own ``--allow-missing`` compares a dep with an out of the same path only: a dep that is a
folder of outs, or a file inside one, it takes for unchanged where it is missing.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dvc.dependency.param import ParamsDependency
from dvc.stage.cache import _can_hash, _get_stage_hash
from dvc_data.hashfile.tree import Tree

from housing.engine.execution import locks, run_cache, transfers
from housing.engine.execution.transfers import Transfers, as_cached

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

_log = logging.getLogger("housing.engine.execution")


class Pulling:
    """What one run of a stage takes from the remote.

    Args:
        repo: DVC's repository; its lock is held at each call, and let go while something is
            transferred.
        moving: The transfers of the run.
        isolated: See `housing.engine.execution.sharing.Sharing`.
    """

    def __init__(self, repo: Repo, moving: Transfers, *, isolated: bool) -> None:
        self._repo = repo
        self._moving = moving
        self._isolated = isolated

    def is_left_alone(self, source: Stage) -> bool:
        """Whether data of ``dvc add`` is not here, so that there is nothing to save.

        In an isolated workspace no data is new: it is what its ``.dvc`` file says.

        Args:
            source: The ``.dvc`` file.
        """
        return self._isolated or not all(out.exists for out in source.outs)

    def is_unchanged(self, stage: Stage) -> bool:
        """Whether a stage has nothing to do; its deps are here afterwards where it has.

        Args:
            stage: As loaded under DVC's lock.

        Raises:
            StageFailedError: A dep is neither here nor in the remote.
            RemoteError: The remote did not answer.
            EngineError: The remote's copy of a dep is damaged.
        """
        lacking = self._lacking(stage)
        known = _is_unchanged(stage, lacking)
        if known is None:
            with locks.let_go(self._repo):
                self._moving.fetch_lists(lacking)
            known = _is_unchanged(stage, lacking)
        if known:
            return True
        self._bring(stage, lacking)
        return False

    def bring_deps(self, stage: Stage) -> None:
        """Brings what a forced stage reads; see `is_unchanged`."""
        self._bring(stage, self._lacking(stage))

    def bring_run(self, stage: Stage) -> None:
        """Brings the result of an earlier run with these deps and this command, if any.

        Args:
            stage: A stage that is about to run, with its deps in place.
        """
        key = run_key(stage)
        with locks.let_go(self._repo):
            if key:
                self._moving.fetch_run(key)
            cache: Any = self._repo.stage_cache
            known = cache._load(run_cache.as_read(stage)) if key else None
            if known:
                self._moving.fetch(cache._create_stage(known, wdir=stage.wdir).outs)

    def _lacking(self, stage: Stage) -> list[Any]:
        """The outs of other stages that the deps consist of and that the workspace lacks."""
        deps = [] if stage.frozen else _local(stage)
        needed = {dep.fs_path for dep in deps}
        if not self._isolated and all(dep.exists and not dep.isdir() for dep in deps):
            return []
        above = {str(folder) for path in needed for folder in PurePath(path).parents}
        outs: Iterable[Any] = self._repo.index.outs
        return [
            out
            for out in outs
            if out.hash_info
            and out.protocol == "local"
            and out.stage.addressing != stage.addressing
            and (out.fs_path in above or _within(out.fs_path, needed))
            and self._lacks(out)
        ]

    def _lacks(self, out: Any) -> bool:  # noqa: ANN401 - DVC publishes no types
        return not out.exists or (self._isolated and out.changed_checksum())

    def _bring(self, stage: Stage, lacking: list[Any]) -> None:
        kept = [out for out in stage.outs if out.persist and out.hash_info and not out.exists]
        wanted = [*lacking, *kept]
        if not wanted:
            return
        imports = [out for out in wanted if out.stage.is_repo_import]
        others = [out for out in wanted if not out.stage.is_repo_import]
        for out in imports:
            self._repo.fetch([out.stage.addressing])
        with locks.let_go(self._repo):
            gone = self._moving.fetch(others)
        if gone:
            raise transfers.missing(stage.addressing, gone)
        for out in wanted:
            if self._lacks(out):  # nobody brought it meanwhile
                if out.exists:
                    _log.warning("%s is not what dvc.lock says: replaced", out)
                check_out(self._repo, out)


def run_key(stage: Stage) -> str | None:
    """The run cache's key of a stage with the deps of now, or None where that keeps no such stage.

    Args:
        stage: The stage, with its deps in place.
    """
    now = run_cache.as_read(stage)
    can_hash: Callable[..., bool] = _can_hash
    key_of: Callable[..., str] = _get_stage_hash
    return key_of(now) if can_hash(now) else None


def _is_unchanged(stage: Stage, lacking: list[Any]) -> bool | None:
    """Whether the stage is as ``dvc.lock`` says; None where that takes the content to tell."""
    if stage.changed_stage() or any(map(_is_changed_out, stage.outs)):
        return False
    if stage.frozen:
        return True
    if stage.is_callback or stage.always_changed:
        return False
    unclear = False
    for dep in stage.deps:
        own = [] if isinstance(dep, ParamsDependency) else _of(dep, lacking)
        if not own:
            if dep.status():
                return False
            continue
        expected = _expected(dep, own)
        if expected is None:
            unclear = True
        elif expected != dep.hash_info.value:
            return False
    return None if unclear else True


def _is_changed_out(out: Any) -> bool:  # noqa: ANN401 - as above
    return not out.hash_info or (out.exists and out.changed_checksum())


def _expected(dep: Any, outs: list[Any]) -> str | None:  # noqa: ANN401 - as above
    """The hash that a dep has once these outs are in place.

    None where the list of the files in an out that is a folder is not in the cache.
    """
    if [out.fs_path for out in outs] == [dep.fs_path]:
        return str(outs[0].hash_info.value)
    files: dict[str, Any] = {}
    if dep.exists and dep.isdir():
        now = copy.copy(dep)
        now.save()
        files = {os.path.join(dep.fs_path, *key): known for key, _, known in now.obj}  # noqa: PTH118 - DVC's paths are strings
    for out in outs:
        listed = as_cached(out).get_obj() if out.hash_info.isdir else ()
        if listed is None:
            return None
        files |= {os.path.join(out.fs_path, *key): known for key, _, known in listed}  # noqa: PTH118 - as above
        if not out.hash_info.isdir:
            files[out.fs_path] = out.hash_info
    if dep.fs_path in files:
        return str(files[dep.fs_path].value)
    tree: Any = Tree()  # type: ignore[no-untyped-call]  # as above
    for path, known in files.items():
        if _within(path, {dep.fs_path}):
            tree.add(PurePath(path).relative_to(dep.fs_path).parts, None, known)
    tree.digest()
    return str(tree.hash_info.value)


def _of(dep: Any, outs: list[Any]) -> list[Any]:  # noqa: ANN401 - as above
    """Those of the outs that lie at, below or above a dep."""
    path = dep.fs_path
    return [out for out in outs if _within(out.fs_path, {path}) or _within(path, {out.fs_path})]


def _local(stage: Stage) -> list[Any]:
    return [
        dep
        for dep in stage.deps
        if dep.protocol == "local" and not isinstance(dep, ParamsDependency)
    ]


def _within(path: str, places: set[str]) -> bool:
    return path in places or any(str(folder) in places for folder in PurePath(path).parents)


def check_out(repo: Repo, out: Any) -> None:  # noqa: ANN401 - as above
    """Lays an out from the cache into the workspace; of ``cache: false``, as a plain copy.

    Args:
        repo: DVC's repository, whose lock the caller holds.
        out: DVC's out, whose content is in the cache.
    """
    cache = repo.cache.local
    types = cache.cache_types
    if not out.use_cache:
        cache.cache_types = ["copy"]
    try:
        as_cached(out).checkout(force=True)
    finally:
        cache.cache_types = types

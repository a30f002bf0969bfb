"""Lays out in a folder what ``dvc.lock`` says, from DVC's cache and its remote, and proves it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dvc.exceptions import DvcException

from housing.engine.errors import EngineError
from housing.engine.execution import lock_entries, locks, reasons
from housing.engine.execution.dvc_errors import explain
from housing.engine.execution.pulling import check_out
from housing.engine.execution.transfers import Transfers, as_cached

if TYPE_CHECKING:
    from housing.engine.execution.remote_login import RemoteLogin


def use_cache_of(project: Path, root: Path) -> None:
    """Lets a folder use the cache of another one, where that has one.

    Args:
        project: The other's root folder.
        root: DVC's root folder, new.
    """
    with locks.open_repo(project, _never) as repo:
        cache = Path(str(repo.cache.local_cache_dir)).resolve()
    lines = f"[cache]\n    dir = {json.dumps(str(cache))}\n"
    (root / ".dvc" / "config.local").write_text(lines, encoding="utf-8")


def keep(root: Path, file: Path) -> None:
    """Tracks a new file by DVC, as ``dvc add`` does, and takes it to the remote.

    Args:
        root: DVC's root folder, a new clone.
        file: The file, in it.

    Raises:
        RemoteError: The remote does not answer, or lets this machine do nothing.
        EngineError: DVC refuses the file.
    """
    with locks.open_repo(root, _never) as repo:
        try:
            (added,) = repo.add(str(file))
        except DvcException as error:
            raise EngineError(explain(error), f"dvc add {file.name}") from error
        Transfers(repo, str(file.name), _never).push(root, added.outs, whole=True)


def lay_out(
    root: Path,
    paths: Collection[str] | None = None,
    entries: Mapping[tuple[str, str], str] = MappingProxyType({}),
    login: RemoteLogin | None = None,
) -> list[str]:
    """Lays out what ``dvc.lock`` and the ``.dvc`` files know.

    Args:
        root: DVC's root folder.
        paths: Files and folders relative to it; the outs that they lie in, or that lie in them,
            are laid out. None for every out.
        entries: YAML of entries that are merged into ``dvc.lock`` first, by their place, see
            `lock_entries.place_of`.
        login: Credentials of the remote; None where this machine has them itself.

    Returns:
        The outs that neither the cache nor the remote has.

    Raises:
        RemoteError: The remote does not answer.
        EngineError: The remote's copy of an out is damaged.
    """
    with locks.open_repo(root, _never, login=login) as repo, locks.locked(repo):
        lock_entries.merge(root, entries)
        known: list[Any] = [out for out in repo.index.outs if out.hash_info]
        outs = [out for out in known if paths is None or _touches(reasons.path_of(out), paths)]
        lacking = [out for out in outs if not out.exists or out.changed_checksum()]
        if repo.config["core"].get("remote"):
            with locks.let_go(repo):
                Transfers(repo, "dvc.lock", _never).fetch(lacking)
        here = [out for out in lacking if not as_cached(out).changed_cache()]
        for out in here:
            check_out(repo, out)
        return sorted(reasons.path_of(out) for out in lacking if out not in here)


def _touches(out: str, paths: Iterable[str]) -> bool:
    """Whether one of two paths lies in the other, or both are one."""
    places = (out, *map(str, PurePath(out).parents))
    return any(path in places or out in map(str, PurePath(path).parents) for path in paths)


def differing(root: Path) -> list[str]:
    """The deps, params files and outs of stages that are not what ``dvc.lock`` says.

    A stage that has no entry there counts for nothing: the one that records a result in a registry
    has none yet at that moment.

    Args:
        root: DVC's root folder.
    """
    with locks.open_repo(root, _never) as repo, locks.locked(repo):
        stages: list[Any] = [stage for stage in repo.index.stages if stage.cmd]
        return sorted(
            {
                reasons.path_of(item)
                for stage in stages
                for item in (*stage.deps, *stage.outs)
                if item.hash_info and item.workspace_status()
            }
        )


def _never() -> None:
    """Waits for DVC's lock without a limit: nobody else works in the folder."""

"""Proves that a stage's deps and params stayed the same from before its command until DVC saves.

DVC hashes deps and reads params after the command. What changed meanwhile would be recorded as if
the command had read it: in ``dvc.lock``, and in the run cache for everybody who shares it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dvc.dependency.base import DependencyDoesNotExistError
from dvc.dependency.param import ParamsDependency

from housing.engine.errors import EngineError, InputsChangedError
from housing.engine.execution import cache_proof, reasons
from housing.engine.execution.stage_result import Change, short

if TYPE_CHECKING:
    from dvc.stage import Stage


def guard(stage: Stage) -> None:
    """Lets DVC save this stage only with the deps and params that are there at this moment.

    DVC calls ``save_deps`` to hash the deps just before it writes anything down, and what that
    call found is what it writes: comparing right there leaves no gap.

    Args:
        stage: The stage, before its command starts; DVC's lock is held.

    Raises:
        EngineError: A dep is damaged: DVC takes it for what it was, and it is not.
        InputsChangedError: Raised later, out of DVC's saving: a dep or a param is not the same.
    """
    before = [_hashed(dep) for dep in stage.deps]
    if cache_proof.wanted():
        _prove(stage, before)
    save_deps: Callable[..., None] = stage.save_deps

    def save_same_deps(*args: Any, **options: Any) -> None:  # noqa: ANN401 - DVC's own, passed on
        try:
            save_deps(*args, **options)
        except DependencyDoesNotExistError as error:
            raise InputsChangedError(f"stage {stage.addressing}: {error}") from error
        changes = [
            change
            for old, new in zip(before, stage.deps, strict=True)
            if old.hash_info != new.hash_info
            for change in _between(old, new)
        ]
        if changes:
            raise InputsChangedError(f"stage {stage.addressing}: {'; '.join(map(str, changes))}")

    stage.save_deps = save_same_deps  # type: ignore[method-assign]  # of this one object


def _prove(stage: Stage, known: list[Any]) -> None:
    with cache_proof.hashed_anew(stage.repo):
        found = [_hashed(dep) for dep in stage.deps]
    damaged = [
        change
        for old, new in zip(known, found, strict=True)
        if old.hash_info != new.hash_info
        for change in _between(old, new)
    ]
    if damaged:
        names = " ".join(change.name for change in damaged)
        raise EngineError(
            f"stage {stage.addressing}: what it reads is damaged on the disk, with its time of "
            f"change as it was: {'; '.join(map(str, damaged))}",
            f"look at the disk (dmesg), then: rm {names} && housing repro {stage.addressing}; "
            f"if that is an edit of yours: touch {names}",
        )


def _hashed(dep: Any) -> Any:  # noqa: ANN401 - DVC publishes no types
    """A copy of a dep with the hash of its present content; the dep keeps that of the last run."""
    now = copy.copy(dep)
    now.save()
    return now


def _between(old: Any, new: Any) -> Iterator[Change]:  # noqa: ANN401 - as above
    path = reasons.path_of(new)
    if isinstance(new, ParamsDependency):
        yield from reasons.params(path, *(_values(dep) for dep in (old, new)))
        return
    before, after = _files(old), _files(new)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Change("dep", "/".join((path, *name)), before.get(name, ""), after.get(name, ""))


def _values(dep: Any) -> dict[str, object]:  # noqa: ANN401 - as above
    return dep.hash_info.value or {}


def _files(dep: Any) -> dict[tuple[str, ...], str]:  # noqa: ANN401 - as above
    """The short hash of each file of a dep, by its path inside a folder; a file's own is ``()``."""
    if getattr(dep, "obj", None) is not None and dep.hash_info.isdir:
        return {key: short(info.value or "") for key, _, info in dep.obj}
    return {(): short(str(dep.hash_info.value or ""))}

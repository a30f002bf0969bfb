"""Why DVC finds a stage out of date: what ``dvc.lock`` noted against what is there now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dvc.dependency.db import AbstractDependency
from dvc.dependency.param import ParamsDependency
from dvc.dependency.repo import RepoDependency
from dvc.stage import PipelineStage

from housing.engine.execution import lockfile
from housing.engine.execution.stage_result import Change, DepResult, Kind, OutResult, short

if TYPE_CHECKING:
    from dvc.stage import Stage

    from housing.engine.execution.lockfile import LockEntry


Expected = Mapping[str, str | None]
"""Hash that a dep will have once stages upstream have run, by its path; None where nobody knows it
before. A dep that stays as it is is left out."""
_AS_IT_IS: Expected = MappingProxyType({})


def find(
    stage: Stage,
    *,
    force: bool,
    expected: Expected = _AS_IT_IS,
    entries: Callable[[Path], Mapping[str, LockEntry]] = lockfile.parse,
) -> tuple[Change, ...]:
    """The reasons, looked up before the stage runs.

    Args:
        stage: As loaded under DVC's lock.
        force: Somebody asked for a run whatever changed.
        expected: What stages upstream will have changed by then; a dep that nobody knows is no
            reason.
        entries: Reads a ``dvc.lock``.
    """
    forced = (Change("force", stage.addressing),) if force else ()
    if not isinstance(stage, PipelineStage):
        before = "" if any(out.hash_info for out in stage.outs) else None
    else:
        entry = entries(noted_in(stage)).get(str(stage.name))
        before = entry.cmd if entry else None
    if before is None:
        return (*forced, Change("new", stage.addressing))
    return (*forced, *_changes(stage, before, expected))


def noted_in(stage: Stage) -> Path:
    """The file in which DVC notes what the last run read and wrote; a ``.dvc`` file is its own."""
    path = Path(stage.path)
    return path.with_suffix(".lock") if isinstance(stage, PipelineStage) else path


def _changes(stage: Stage, old_cmd: str, expected: Expected) -> Iterator[Change]:
    if not isinstance(stage, PipelineStage):
        before, after = short(stage.md5 or ""), short(stage.compute_md5() or "")
        if before != after:
            yield Change("cmd", stage.addressing, before, after)
    elif stage.cmd_changed:
        yield Change("cmd", stage.addressing, old_cmd, lines(stage.cmd))
    if stage.is_callback or stage.always_changed:
        yield Change("always", stage.addressing)
    for dep in [] if stage.frozen else stage.deps:
        if path_of(dep) in expected:
            noted, soon = dep.hash_info.value or "", expected[path_of(dep)]
            if soon and soon != noted:
                yield Change("dep", path_of(dep), short(noted), short(soon))
        elif isinstance(dep, ParamsDependency):
            yield from _params(dep)
        else:
            yield from _content("dep", dep)
    for out in stage.outs:
        yield from _content("out", out)


def _params(dep: Any) -> Iterator[Change]:  # noqa: ANN401 - DVC publishes no types
    status = dep.status()
    changed = status.get(str(dep), {})
    if isinstance(changed, str):
        yield Change("param", path_of(dep), "", "missing" if changed == "deleted" else changed)
        return
    before, after = dep.hash_info.value or {}, dep.read_params()
    old, new = ({key: all_[key] for key in changed if key in all_} for all_ in (before, after))
    yield from params(path_of(dep), old, new)


def params(
    path: str, before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[Change]:
    """Every param of one file whose value differs, down to single values of a section.

    Args:
        path: The params file.
        before: The values by key.
        after: The same, later.
    """
    for key in {**after, **before}:
        old, new = (
            _leaves(key, values[key]) if key in values else {} for values in (before, after)
        )
        for leaf in sorted(old.keys() | new.keys()):
            if old.get(leaf) != new.get(leaf):
                yield Change("param", f"{path}:{leaf}", old.get(leaf, ""), new.get(leaf, ""))


def _leaves(key: str, value: object) -> dict[str, str]:
    """A param that is a whole section, value by value: a reason names the one that changed."""
    if not isinstance(value, dict) or not value:
        return {key: str(value)}
    below = (_leaves(f"{key}.{name}", content) for name, content in value.items())
    return {leaf: content for leaves in below for leaf, content in leaves.items()}


def _content(kind: Kind, item: Any) -> Iterator[Change]:  # noqa: ANN401 - as above
    before = short(item.hash_info.value or "")
    for status in item.status().values():
        if status == "deleted":
            yield Change(kind, path_of(item), before, "missing")
        elif status == "not in cache":
            yield Change(kind, path_of(item), before, status)
        else:
            yield Change(kind, path_of(item), before, short(item.get_hash().value or ""))


def missing(stage: Stage, expected: Expected = _AS_IT_IS) -> tuple[list[str], list[str]]:
    """The deps, and the params files, that are not there and not expected."""
    looked_at = [] if stage.frozen else [dep for dep in stage.deps if path_of(dep) not in expected]
    gone = [dep for dep in looked_at if not dep.exists]
    params = [path_of(dep) for dep in gone if isinstance(dep, ParamsDependency)]
    return [path_of(dep) for dep in gone if not isinstance(dep, ParamsDependency)], params


def missing_outs(stage: Stage) -> list[str]:
    """The outs of a frozen stage that are not there: DVC does not run its command to make them."""
    return [path_of(out) for out in stage.outs if not out.exists] if stage.frozen else []


def hashes(stage: Stage) -> dict[str, str]:
    """DVC's hash of each out, by path relative to the root."""
    return {path_of(out): out.hash_info.value or "" for out in stage.outs}


def outs(stage: Stage, before: dict[str, str]) -> tuple[OutResult, ...]:
    """Every out as it is now, against the hashes before."""
    return tuple(
        OutResult(path, md5, out.meta.size or 0, changed=before.get(path) != md5)
        for out, (path, md5) in zip(stage.outs, hashes(stage).items(), strict=True)
    )


def deps(stage: Stage) -> tuple[DepResult, ...]:
    """Every dep with its hash, as DVC saved it; tables of a database have no place to name."""
    found = []
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency | AbstractDependency):
            continue
        if isinstance(dep, RepoDependency):
            repo = dep.def_repo
            version = str(repo.get("rev_lock") or "")
            found.append(DepResult(str(dep.def_path), version, str(repo["url"])))
            continue
        remote = dep.protocol != "local"
        path = dep.fs.unstrip_protocol(dep.fs_path) if remote else path_of(dep)
        found.append(DepResult(path, dep.hash_info.value or ""))
    return tuple(found)


def lines(cmd: str | list[str]) -> str:
    """The commands of a stage, one per line."""
    return cmd if isinstance(cmd, str) else "\n".join(cmd)


def path_of(item: Any) -> str:  # noqa: ANN401 - as above
    """Path of a dep or an out relative to the root where it is below it."""
    if item.protocol != "local" or not item.is_in_repo:
        return str(item.def_path)
    return os.path.relpath(str(item.fs_path), item.repo.root_dir)

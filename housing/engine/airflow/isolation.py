"""Workspaces of workers that share no folder: what is refused, and how one is made."""

from __future__ import annotations

import configparser
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from housing.engine.errors import DiskFullError, GraphError
from housing.engine.graph import StageNode, manifest

VARIABLE = "HOUSING_WORKSPACES"
"""Variable that names the host's folder for isolated workspaces and their cache."""

SITE = "site"
"""Folder, in a run's place, of DVC's own databases about the copy."""

_CONFIG = ".dvc/config.local"
_LEFT_OUT = frozenset({".git", "__pycache__"})
_DVC_LEFT_OUT = frozenset({"cache", "tmp", "config.local"})


def host_folder() -> Path:
    """The folder, on this host, of isolated workspaces and of the cache that they share.

    ``HOUSING_WORKSPACES``, by default ``workspaces`` in Airflow's home. Put it on a disk of the
    host: the cache and the workspaces are on the same one, so that DVC links and does not copy.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "workspaces"


def require(stages: Iterable[StageNode], every: Sequence[StageNode], root: Path) -> None:
    """Refuses what cannot work where each worker has a workspace of its own.

    Args:
        stages: Those that have tasks.
        every: All stages of the repository.
        root: DVC's root folder.

    Raises:
        GraphError: All reasons, each with its way out.
    """
    stages = list(stages)
    faults = [*_remote_faults(root), *(f for stage in stages for f in _stage_faults(stage))]
    faults += _lost(stages, every, root)
    if faults:
        raise GraphError(
            "\n".join(faults), 'correct that, or use one folder for all workers: workspace="shared"'
        )


def _remote_faults(root: Path) -> Iterator[str]:
    """What is wrong with the remote that git knows: no other setting gets to each worker."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(_left_aligned(root / ".dvc" / "config"))
    name = parser.get("core", "remote", fallback="")
    url = parser.get(f"'remote \"{name}\"'", "url", fallback="")
    if not name or not url:
        yield (
            "isolated workers exchange what stages make by DVC's default remote, and .dvc/config "
            "names none: dvc remote add --default NAME URL"
        )
    elif "://" not in url and not PurePosixPath(url).is_absolute():
        yield f"the remote {name} is at {url}, beside this folder only: give an absolute address"


def _left_aligned(path: Path) -> str:
    """DVC's config without the indentation, which the parser would take for a longer value."""
    try:
        return "\n".join(line.strip() for line in path.read_text("utf-8").splitlines())
    except FileNotFoundError:
        return ""


def _stage_faults(stage: StageNode) -> Iterator[str]:
    if stage.file.endswith(".dvc"):
        yield (
            f"{stage.name}: an import that is not frozen is fetched by each run, and may differ "
            f"between workers: dvc freeze {stage.name}"
        )
    for out in stage.outs:
        if "://" in out or PurePosixPath(out).is_absolute():
            yield f"{stage.name}: the out {out} lies outside the repository, so DVC keeps no copy"
    for dep in (*stage.deps, *stage.params):
        if PurePosixPath(dep).is_absolute():
            yield (
                f"{stage.name}: the dep {dep} lies outside the repository, where each worker has "
                "another file, or none: dvc import-url, or dvc add, it"
            )


def _lost(stages: Iterable[StageNode], every: Sequence[StageNode], root: Path) -> Iterator[str]:
    """Deps that no other worker can have: in no commit and of no stage, or never pushed."""
    places = {place for stage in every for out in stage.outs for place in _around(out)}
    inside = {out for stage in every for out in stage.outs}
    unpushed = {out: stage.name for stage in every for out in stage.unpushed}
    for stage in stages:
        for dep in stage.deps:
            above = set(_around(dep))
            for out in sorted(out for out in unpushed if out in above or dep in _around(out)):
                yield (
                    f"{stage.name}: the dep {dep} comes from {unpushed[out]}, whose out {out} is "
                    "never pushed: take push: false away from it"
                )
            made = dep in places or not inside.isdisjoint(above)
            # The data of a .dvc file is where that says: DVC tells of it in the run.
            told = "://" in dep or PurePosixPath(dep).is_absolute()
            if made or told or stage.data_sources or (root / dep).exists():
                continue
            yield (
                f"{stage.name}: the dep {dep} is in no commit, and no stage writes it: git add, or "
                "dvc add, it"
            )


def _around(path: str) -> tuple[str, ...]:
    """A path and the folders that it lies in."""
    return (path, *(str(folder) for folder in PurePosixPath(path).parents if folder.name))


def copy(project: Path, target: Path, place: Path) -> None:
    """Makes a workspace of the folder of a DAG bundle, which itself stays as Airflow laid it out.

    Everything in it is copied, but for git's own folder and for DVC's cache and temporary files.

    Args:
        project: DVC's root folder in the bundle.
        target: The workspace, which does not exist yet.
        place: The place of the run.

    Raises:
        DiskFullError: There is no room for it.
    """
    dvc = str(project / ".dvc")

    def left_out(folder: str, names: list[str]) -> set[str]:
        out = _LEFT_OUT | (_DVC_LEFT_OUT if folder == dvc else frozenset())
        return set(out.intersection(names))

    try:
        shutil.copytree(project, target, symlinks=True, ignore=left_out)
    except OSError as error:
        from housing.engine.execution import full_disk  # 3 ms of each parse of a DAG file

        if not full_disk.is_full(error):
            raise
        raise DiskFullError(
            f"the disk of {place} has no room for a copy of {project}", f"df -h {place}"
        ) from error
    settings = {
        # A bundle's folder has no git, and what git says of a folder above it counts for nothing.
        "core": {"no_scm": "true", "site_cache_dir": json.dumps(str(place / SITE))},
        "cache": {"dir": json.dumps(str(host_folder().resolve() / "cache"))},
    }
    lines = [
        line
        for section, pairs in settings.items()
        for line in (f"[{section}]", *(f"    {name} = {value}" for name, value in pairs.items()))
    ]
    (target / _CONFIG).write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest.take_along(project, target, _CONFIG)

"""Where the stages of a run work: the project itself, or a copy with overridden parameters."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from housing.engine import graph
from housing.engine.airflow.task_ids import folder_of
from housing.errors import ConfigError
from housing.domain.overrides import override
from housing.settings import Settings, load_settings

FOLDER = Path(".housing/workspaces")
"""Folder, below the project, of one workspace for each run with overrides."""


@dataclass(frozen=True)
class Workspace:
    """The folder in which the stages of one run work.

    A run without overrides works in the project. A run with overrides works in a copy of what its
    stages declare, with its own ``params.yaml`` and ``dvc.lock``, and with the project's cache and
    MLflow store: it reuses what is cached, and leaves nothing behind in the project. The first
    task that needs the copy makes it; the run's summary removes it.

    Attributes:
        project: The project's folder.
        root: The folder in which DVC works.
        overrides: ``path=value`` pairs that replace values of ``params.yaml``.
    """

    project: Path
    root: Path
    overrides: tuple[str, ...]

    @classmethod
    def of(cls, project: Path, run_id: str, overrides: Sequence[str]) -> Self:
        """The workspace of a run.

        Args:
            project: The project's folder.
            run_id: Airflow's id of the run.
            overrides: ``path=value`` pairs; none for a plain run.
        """
        root = project / FOLDER / folder_of(run_id) if overrides else project
        return cls(project.resolve(), root.resolve(), tuple(overrides))

    @contextmanager
    def entered(self) -> Iterator[Settings]:
        """Makes the workspace where it is missing, and points the environment at it.

        Yields:
            The settings that hold in the workspace.

        Raises:
            ConfigError: An override names no parameter, its value does not fit, or it adds a stage.
        """
        settings = load_settings(self.project)
        if not self.overrides:
            yield settings
            return
        self._make()
        inside = {
            "HOUSING_ROOT": str(self.root),
            "HOUSING_OVERRIDES": json.dumps(self.overrides),
            "MLFLOW_TRACKING_URI": settings.tracking_uri or settings.store,
            **(
                {"HOUSING_ARTIFACTS": settings.artifact_location}
                if settings.artifact_location
                else {}
            ),
        }
        with _environment(inside):
            yield load_settings()

    def remove(self) -> None:
        """Removes the copy, where there is one; the project itself stays."""
        if self.overrides:
            for folder in (self.root, _partial_of(self.root)):
                shutil.rmtree(folder, ignore_errors=True)
            _lock_of(self.root).unlink(missing_ok=True)

    def _make(self) -> None:
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with _lock_of(self.root).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # independent stages start at the same time
            if self.root.exists():
                return
            text = override((self.project / "params.yaml").read_text("utf-8"), self.overrides)
            partial = _partial_of(self.root)
            shutil.rmtree(partial, ignore_errors=True)
            _copy(self.project, partial)
            (partial / "params.yaml").write_text(text, encoding="utf-8")
            _share_cache(self.project, partial)
            _require_tasks(self.project, partial)
            # A stage that runs alone reads what the stages before it wrote.
            _dvc(partial, "checkout", "--quiet", "--allow-missing")
            partial.rename(self.root)


def _copy(project: Path, target: Path) -> None:
    """Copies everything that the stages read and none of them writes, and DVC's own files."""
    found = graph.load(project, _wait)
    stages = found.stages
    made = {out for stage in stages for out in stage.outs}
    locks = {str(Path(stage.file).with_name("dvc.lock")) for stage in stages}
    params = {param.partition(":")[0] for stage in stages for param in stage.params}
    shaping = {path for path in found.sources if not path.startswith(("/", "../", ".git/"))}
    read = {dep for stage in stages for dep in stage.deps}

    def left_out(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(project)
        return {name for name in names if str(inside / name) in made or name == "__pycache__"}

    for path in sorted(shaping | locks | params | read - made):
        source, copy = project / path, target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=left_out, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy2(source, copy)


def _wait() -> None:
    """Goes on waiting for DVC's lock: a copy must not be made by the graph of yesterday."""


def _share_cache(project: Path, copy: Path) -> None:
    """Lets the copy use the project's cache and remotes, and keeps it out of git's sight."""
    cache = _dvc(project, "cache", "dir")
    _dvc(copy, "config", "--local", "core.no_scm", "true")
    _dvc(copy, "cache", "dir", "--local", str((project / cache).resolve()))
    for setting in _dvc(project, "config", "--list").splitlines():  # with every path absolute
        name, _, value = setting.partition("=")
        if re.fullmatch(r"remote\..+\.url", name) and Path(value).is_absolute():
            _dvc(copy, "config", "--local", name, value)


def _require_tasks(project: Path, copy: Path) -> None:
    """Refuses overrides that make new stages: a DAG gets its tasks before its runs."""
    known = graph.load(project, _wait).names
    added = [name for name in graph.load(copy).names if name not in known]
    if added:
        raise ConfigError(
            f"the overrides add {', '.join(added)}, for which the DAG has no task",
            "add it in params.yaml",
        )


def _dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", "--cd", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{' '.join(command)} failed: {done.stderr.strip()}", "dvc doctor")
    return done.stdout.strip()


def _lock_of(root: Path) -> Path:
    return root.with_name(f"{root.name}.lock")


def _partial_of(root: Path) -> Path:
    return root.with_name(f"{root.name}.partial")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables, and puts the old ones back: under `make run` all tasks share a process."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

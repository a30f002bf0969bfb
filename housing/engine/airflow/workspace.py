"""Where the stages of a run work: the project itself, or a copy that belongs to the run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from housing.engine import graph
from housing.engine.airflow import host_cache, isolation
from housing.engine.airflow.run_place import COPY, INSIDE, LOCKS, NOTE, PARTIAL, left_by_all
from housing.engine.airflow.task_ids import folder_of
from housing.engine.errors import OptionsError
from housing.engine.files import write_whole
from housing.engine.stage_notes import DURATIONS

ApplyOverrides = Callable[[Path, Sequence[str]], None]
"""Replaces parameters in the params files below a folder, or raises an error that says why not."""

WorkspaceKind = Literal["shared", "isolated"]
"""``shared``: all workers share the project's folder. ``isolated``: each makes a copy for a run."""

FOLDER = Path(".housing/workspaces")
"""Folder, below the project, of one place for each run with overrides.

Isolated workspaces have their places in `housing.engine.airflow.isolation.host_folder`. A place
holds ``copy``, in which the stages work; ``locks``, the ``dvc.lock`` files of a copy that
was removed; ``inside``, which tasks hold while they work in the copy; and ``run.json``.
"""


@dataclass(frozen=True)
class Workspace:
    """The folder in which the stages of one run work.

    A run without overrides works in the project. A run with overrides works in a copy of what its
    stages declare, with its own params files and ``dvc.lock``, and with the project's cache: it
    reuses what is cached, and leaves nothing behind in the project. The first
    task that needs the copy makes it; the run's summary removes it. Its ``dvc.lock`` stays as long
    as Airflow knows the run: a task that somebody clears later makes the copy anew, and finds in it
    what the run had made and not what the project has.

    An isolated run works in a copy on each of its workers, made of the whole project, which is the
    folder of an Airflow DAG bundle. What the others made comes by ``dvc.lock`` entries and DVC's
    remote, so nothing of such a copy is kept.

    Attributes:
        project: The project's folder.
        run: The DAG and its run, by Airflow's ids.
        overrides: ``[file:]key=value`` pairs that replace parameters, or none.
        apply: Replaces them; by default as ``dvc exp run --set-param`` does.
        isolated: Each worker of the run has a workspace of its own.
        revision: Git's revision of an isolated project, whose folder does not know it.
    """

    project: Path
    run: tuple[str, str]
    overrides: tuple[str, ...]
    apply: ApplyOverrides = field(compare=False)
    isolated: bool = False
    revision: str = ""

    @classmethod
    def of(  # noqa: PLR0913 - the attributes
        cls,
        project: Path,
        run: tuple[str, str],
        overrides: Sequence[str],
        apply: ApplyOverrides | None = None,
        *,
        isolated: bool = False,
        revision: str = "",
    ) -> Self:
        """The workspace of a run; the arguments are the attributes."""
        return cls(project.resolve(), run, tuple(overrides), apply or _as_dvc, isolated, revision)

    @property
    def places(self) -> Path:
        """The folder of the places of all runs."""
        return places_of(self.project, isolated=self.isolated)

    @property
    def place(self) -> Path:
        """The folder of the run, where it works in a copy."""
        return self.places / folder_of("/".join(self.run))

    @property
    def is_copy(self) -> bool:
        """Whether the run works in a copy."""
        return self.isolated or bool(self.overrides)

    @property
    def root(self) -> Path:
        """The folder in which DVC works."""
        return self.place / COPY if self.is_copy else self.project

    @contextmanager
    def entered(self) -> Iterator[Path]:
        """Makes the workspace where it is missing, and tells the stages of it by the environment.

        In a copy, ``HOUSING_ROOT`` is the copy, ``HOUSING_PROJECT`` is the project that it was
        made of, and ``HOUSING_OVERRIDES`` holds the overrides as JSON; in an isolated one,
        ``HOUSING_GIT_REVISION`` is git's revision.

        Yields:
            The folder in which DVC works.

        Raises:
            OptionsError: An override names no parameter or adds a stage, or its value does not fit.
        """
        if not self.is_copy:
            yield self.root
            return
        inside = {
            "HOUSING_ROOT": str(self.root),
            "HOUSING_PROJECT": str(self.project),
            "HOUSING_OVERRIDES": json.dumps(self.overrides),
            **({"HOUSING_GIT_REVISION": self.revision} if self.revision else {}),
        }
        with self._made(), _environment(inside):
            yield self.root

    def remove(self) -> None:
        """Removes the copy, where there is one that nobody works in; the project itself stays."""
        if self.is_copy and self.place.exists():
            with changing(self.places):
                remove_copy(self.place)

    @contextmanager
    def _made(self) -> Iterator[None]:
        """Makes the copy where it is missing, and keeps everybody from removing it meanwhile."""
        with ExitStack() as stack:
            with changing(self.places):
                self.place.mkdir(exist_ok=True)
                inside = stack.enter_context((self.place / INSIDE).open("w"))
                fcntl.flock(inside, fcntl.LOCK_SH)
                if not self.root.exists():
                    self._make()
                    if self.isolated:
                        others = [
                            p for p in self.places.iterdir() if p != self.place and p.is_dir()
                        ]
                        host_cache.bound(self.root, others)
            yield

    def _make(self) -> None:
        # DVC is too heavy for a DAG file.
        from housing.engine.execution.project_copy import check_out, share_cache

        partial = self.place / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        locks = set() if self.isolated else _copy(self.project, partial)
        if self.isolated:
            isolation.copy(self.project, partial, self.place)
        else:  # before DVC looks for stages in there: git ignores the place, and so would DVC
            share_cache(self.project, partial)
        if self.overrides:
            self.apply(partial, self.overrides)
        note = {"dag_id": self.run[0], "run_id": self.run[1], "locks": sorted(locks)}
        (self.place / NOTE).write_text(json.dumps(note), encoding="utf-8")
        if (self.place / LOCKS).exists():
            shutil.copytree(self.place / LOCKS, partial, dirs_exist_ok=True)
        if self.overrides:
            _require_tasks(self.project, partial)
        if not self.isolated:
            # A stage that runs alone reads what the stages before it wrote.
            check_out(partial)
        partial.rename(self.root)


def places_of(project: Path, *, isolated: bool = False) -> Path:
    """The folder of the places of all runs.

    Args:
        project: The project's folder.
        isolated: Of runs with isolated workspaces, which are the host's and not the project's.
    """
    return isolation.host_folder() / "runs" if isolated else project / FOLDER


@contextmanager
def changing(places: Path) -> Iterator[None]:
    """Keeps everybody else from making and removing workspaces; independent stages start at once.

    Args:
        places: The folder of the places of all runs.
    """
    places.mkdir(parents=True, exist_ok=True)
    ignored = places.with_name(".gitignore")
    if not ignored.exists():  # whatever the repository's own rules say
        write_whole(ignored, "*\n")
    with places.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_copy(place: Path) -> bool:
    """Removes the copy of a run, but for its ``dvc.lock`` files; call it inside `changing`.

    Args:
        place: The folder of the run.

    Returns:
        False where a task works in the copy, which then stays.
    """
    with left_by_all(place) as left:
        if not left:
            return False
        locks = noted(place).get("locks", [])
        for lock in locks:
            made, kept = place / COPY / lock, place / LOCKS / lock
            if made.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(made, kept)
        for folder in (COPY, PARTIAL, isolation.SITE):
            shutil.rmtree(place / folder, ignore_errors=True)
        if not locks:
            shutil.rmtree(place)
        return True


def noted(place: Path) -> dict[str, Any]:
    """The ids of the run that a place belongs to, and its locks; empty if unreadable."""
    try:
        content: dict[str, Any] = json.loads((place / NOTE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content


def _copy(project: Path, target: Path) -> set[str]:
    """Copies everything that the stages read and none of them writes, and DVC's own files.

    Returns:
        The ``dvc.lock`` files, relative to the project.
    """
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
    (target / DURATIONS).mkdir(parents=True)
    for note in (project / DURATIONS).glob("*.json"):  # for what the cache saves
        shutil.copy2(note, target / DURATIONS)
    return locks


def _as_dvc(root: Path, overrides: Sequence[str]) -> None:
    from housing.engine.execution.overrides import apply  # DVC is too heavy for a DAG file

    apply(root, overrides)


def _wait() -> None:
    """Waits for DVC's lock without a limit: a copy needs the graph as it is now."""


def _require_tasks(project: Path, copy: Path) -> None:
    """Refuses overrides that make new stages: a DAG gets its tasks before its runs."""
    known = graph.load(project, _wait).names
    added = [name for name in graph.load(copy).names if name not in known]
    if added:
        raise OptionsError(
            f"the overrides add {', '.join(added)}, for which the DAG has no task",
            "add it in the params file",
        )


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

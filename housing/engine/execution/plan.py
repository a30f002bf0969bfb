"""What each stage would do, why, and how long that takes, without doing any of it.

Nothing is written to ``dvc.lock``, to DVC's cache, or to an out. What a stage makes of changed
inputs is not known before it runs, so a stage after it ``may run``: DVC runs it only where what it
reads has changed then. What comes back from the run cache is known.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import lock_repo

from housing.engine import graph
from housing.engine.errors import EngineError
from housing.engine.execution import dvc_errors, lockfile, locks, reasons, recovery, run_cache
from housing.engine.execution.stage_plan import Plan, StagePlan
from housing.engine.graph import Graph, StageNode
from housing.engine.graph.nodes import overlap
from housing.engine.graph.resolve import name_of
from housing.engine.graph.selection import ALL, select
from housing.engine.stage_notes import last_duration

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage


def make(
    root: Path,
    names: Collection[str] = (),
    *,
    force: bool = False,
) -> Plan:
    """Plans what ``dvc repro`` of these stages, and of all upstream of them, would do.

    Args:
        root: DVC's root folder.
        names: The stages; none for all.
        force: Plan a run of every stage, whatever changed.

    Raises:
        OptionsError: There is no such stage.
        GraphError: ``dvc.yaml`` or ``dvc.lock`` is wrong.
        StageBusyError: Somebody else held DVC's lock for an hour.
        EngineError: A run was killed while it wrote ``dvc.lock``.
    """
    root = root.resolve()
    give_up = _patience("the plan")
    stages = graph.load(root, give_up)
    taken = {one for name in names or [ALL] for one in select(name, "upstream", stages.upstream)}
    done: dict[str, StagePlan] = {}
    with _looking(root, give_up) as repo:
        look = _Look(repo, stages, root)
        known = {name_of(stage): stage for stage in repo.index.stages}
        for node in (node for node in stages.stages if node.name in taken):
            done[node.name] = look.plan(known[node.name], node, done, force=force)
    return Plan(tuple(done.values()))


def of_stage(  # noqa: PLR0913 - a name says what each is for
    root: Path,
    name: str,
    upstream: Mapping[str, StagePlan],
    *,
    force: bool = False,
    pull: bool = False,
    notes: Path | None = None,
) -> StagePlan:
    """Plans one stage of a run, of which those upstream are planned already.

    Args:
        root: DVC's root folder.
        name: The stage.
        upstream: The plans of the stages that it reads from; one that is missing is not part of
            the run, and its outs stay as they are.
        force: Plan a run of the stage, whatever changed.
        pull: What is missing here is no reason to run, and comes from DVC's remote. The remote is
            not asked: what it could restore counts as a run.
        notes: The root folder in which durations are noted, where it is another one.

    Raises:
        GraphError: There is no such stage, or ``dvc.yaml`` or ``dvc.lock`` is wrong.
        StageBusyError: Somebody else held DVC's lock for an hour.
        EngineError: A run was killed while it wrote ``dvc.lock``.
    """
    root = root.resolve()
    give_up = _patience(name)
    stages = graph.load(root, give_up)
    node = stages[name]
    with _looking(root, give_up) as repo:
        (stage,) = repo.stage.collect(name)
        look = _Look(repo, stages, notes or root, pull=pull)
        return look.plan(stage, node, upstream, force=force)


def _patience(who: str) -> Callable[[], None]:
    """Ends the waiting for DVC's lock, which ``dvc push`` or ``dvc gc`` may hold for long."""
    deadline = time.monotonic() + lockfile.PATIENCE

    def give_up() -> None:
        if time.monotonic() > deadline:
            raise dvc_errors.locked(who)

    return give_up


@contextlib.contextmanager
def _looking(root: Path, give_up: Callable[[], None]) -> Iterator[Repo]:
    """Opens DVC's repository and holds its lock, and leaves what a killed run left as it is."""
    with (
        contextlib.chdir(root),
        locks.open_repo(root, give_up) as repo,
        lock_repo(repo),
    ):
        torn = recovery.unfinished(root)
        if torn:
            raise EngineError(
                f"a run was killed while it wrote {', '.join(map(str, torn))}",
                "start a run, which brings the file back; then plan again",
            )
        yield repo


class _Look:
    """One look at a repository, while DVC's lock is held.

    Args:
        repo: DVC's repository.
        stages: Its stages.
        notes: The root folder in which durations are noted.
        pull: See `of_stage`.

    Raises:
        GraphError: A ``dvc.lock`` is broken.
    """

    def __init__(self, repo: Repo, stages: Graph, notes: Path, *, pull: bool = False) -> None:
        self._entries = functools.cache(lockfile.parse)  # each file is read once
        self._stages = stages
        self._notes = notes
        self._pull = pull
        for file in {node.file for node in stages.stages if node.file.endswith(".yaml")}:
            self._entries((Path(repo.root_dir) / file).with_suffix(".lock"))

    def plan(
        self,
        stage: Stage,
        node: StageNode,
        planned: Mapping[str, StagePlan],
        *,
        force: bool,
    ) -> StagePlan:
        """The plan of one stage, after those of the stages upstream that are part of the run."""
        upstream = [planned[name] for name in node.upstream if name in planned]
        failing = [plan.stage for plan in upstream if plan.action == "fail"]
        try:
            if failing and not node.frozen:
                raise EngineError(f"it comes after {', '.join(failing)}")
            found = self._action(node.name, stage, upstream, force=force)
        except (DvcException, EngineError) as error:
            fault = error.fact if isinstance(error, EngineError) else dvc_errors.explain(error)
            found = StagePlan(node.name, "fail", fault=fault)
        return replace(found, seconds=last_duration(self._notes, node.name)).after(upstream)

    def _action(
        self, name: str, stage: Stage, upstream: Collection[StagePlan], *, force: bool
    ) -> StagePlan:
        if stage.frozen:
            gone = [reasons.path_of(out) for out in stage.outs if not out.exists]
            if gone and not self._pull:
                raise EngineError(f"it is frozen, and there is no {', '.join(gone)}")
            return StagePlan(name, "stay")
        expected, unsure = self._expected(stage, upstream)
        why = reasons.find(stage, force=force, expected=expected, entries=self._entries)
        if self._pull:
            why = tuple(change for change in why if not change.is_absence)
        if not why:
            return StagePlan(name, "may run" if unsure else "stay", depends_on=unsure)
        gone, params = reasons.missing(stage, expected)
        absent = dvc_errors.absent(name, [] if self._pull else gone, params)
        if absent:
            raise absent
        sure = unsure or {"force", "always"} & {change.kind for change in why}
        known = {path: md5 for path, md5 in expected.items() if md5}
        outs = None if sure else run_cache.outs(stage, why, known)
        if outs is None:
            return StagePlan(name, "run", reasons=why)
        return StagePlan(name, "restore", reasons=why, outs=outs)

    def _expected(
        self, stage: Stage, upstream: Collection[StagePlan]
    ) -> tuple[dict[str, str | None], tuple[str, ...]]:
        """What stages upstream will have written when this one looks at its deps.

        Returns:
            The hash by the path of a dep, None where nobody knows it before; a dep that stays as
            it is is left out. The stages upstream that make a dep unknown.
        """
        expected: dict[str, str | None] = {}
        unsure: list[str] = []
        for plan in (plan for plan in upstream if plan.action != "stay"):
            for dep in stage.deps:
                path = reasons.path_of(dep)
                outs = [out for out in self._stages[plan.stage].outs if overlap(path, out)]
                if not outs:
                    continue
                # A part of a folder, a folder of several outs, and params have no such hash.
                whole = outs == [path] and not isinstance(dep, ParamsDependency)
                expected[path] = plan.outs.get(path) if whole else None
                if expected[path] is None and plan.stage not in unsure:
                    unsure.append(plan.stage)
        return expected, tuple(unsure)


def show(root: Path, names: Collection[str], *, force: bool, as_json: bool) -> None:
    """Prints the plan, for a command line.

    Args:
        root: See `make`, also for the next ones and the errors.
        names: See there.
        force: See there.
        as_json: Print JSON instead of lines for people.
    """
    plan = make(root, names, force=force)
    text = json.dumps(plan.to_dict(), indent=2) if as_json else "\n".join(plan.lines())
    sys.stdout.write(f"{text}\n")

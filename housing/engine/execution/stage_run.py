"""Runs exactly one stage by DVC, in this process, and tells what that did.

In process, because a shell with ``dvc repro`` pays 0.5 s of start and holds DVC's lock while it
starts. The stage's own command still runs in a process group of its own (``supervise``).
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.exceptions import DvcException, ReproductionError
from dvc.lock import LockError

import housing.engine.execution.preload  # noqa: F401 - a parent that imports this module warms its forks
from housing.engine import graph
from housing.engine.errors import EngineError
from housing.engine.execution import (
    attempts,
    cache_proof,
    data_sources,
    dvc_errors,
    full_disk,
    inputs,
    leftovers,
    lock_entries,
    lockfile,
    locks,
    reasons,
    recovery,
    unchanged,
)
from housing.engine.execution.pulling import Pulling, run_key
from housing.engine.execution.readable_deps import require_readable
from housing.engine.execution.remote_errors import remote_of
from housing.engine.execution.sharing import Sharing
from housing.engine.execution.stage_process import Command
from housing.engine.execution.stage_result import Change, DepResult, StageResult, StageState
from housing.engine.execution.transfers import Transfers
from housing.engine.stage_notes import last_duration, note_duration

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

    from housing.engine.graph import StageNode

_log = logging.getLogger("housing.engine.execution")


def reproduce(root: Path, stage: str, *, force: bool = False) -> StageResult:
    """Brings one stage up to date; those upstream are left as they are.

    Args:
        root: DVC's root folder.
        stage: The stage's name, as DVC addresses it from the root.
        force: Run the command whatever changed.

    Raises:
        GraphError: No such stage, or ``dvc.yaml`` or the params are wrong.
        StageFailedError: The command failed, or a dep or an out is missing.
        InputsChangedError: Deps or params changed while the command ran, each time.
        StageBusyError: Somebody else kept the stage busy for too long.
        RemoteError: A remote of DVC did not answer.
        EngineError: DVC failed otherwise.
    """
    return StageRun(root, stage, force=force).reproduce()


class StageRun:
    """One run of one stage, which somebody may have to stop.

    It sets the working directory, ``$SHELL`` and ``sys.argv`` of the process while it runs, so
    there is one at a time in a process; any number of processes may run stages side by side.

    Args:
        root: DVC's root folder.
        stage: The stage's name.
        force: Run the command whatever changed.
        sharing: What it takes from DVC's remote, and gives to it.
        env: Variables that the command gets in addition.
        patience: Seconds from now to wait for others: for the stage, for DVC's lock and rwlock.

    Attributes:
        deps: Every dep with its hash, once the run is over.
    """

    _look: unchanged.Look

    def __init__(  # noqa: PLR0913 - each is set by its name
        self,
        root: Path,
        stage: str,
        *,
        force: bool = False,
        sharing: Sharing = Sharing(),  # noqa: B008 - frozen
        env: Mapping[str, str] | None = None,
        patience: float = lockfile.PATIENCE,
    ) -> None:
        self._root = root.resolve()
        self._name = stage
        self._force = force
        self._sharing = sharing
        self._deadline = time.monotonic() + patience
        self._command = Command.of(self._root, stage, env or {})
        self._data_sources: tuple[str, ...] = ()
        self._stopped = False
        self._only_looks = False
        self._record: StageResult | None = None
        self._transfers: Transfers | None = None
        self._pulling: Pulling | None = None
        self._saved: list[Any] = []
        self._run_key: str | None = None
        self.deps: tuple[DepResult, ...] = ()

    def reproduce(self) -> StageResult:
        """See ``reproduce`` of this module."""
        self._work(graph.load(self._root, self._lose_patience))
        assert self._record is not None  # noqa: S101 - _step always ran
        return self._record

    def look(self, *, ask_dvc: bool = True) -> StageResult | None:
        """Looks at the stage as `reproduce` does, and leaves it as it is where it is not unchanged.

        It waits for nobody. What a removed stage left in a folder of the deps goes, as there.

        Args:
            ask_dvc: Let DVC look where nothing is kept of an earlier look.

        Returns:
            The record of the unchanged stage. None where there is something to do, and where DVC
            could not look without saving data or asking remote storage.

        Raises:
            StageBusyError: Somebody else is at work.
            EngineError: As `reproduce`.
        """
        self._only_looks, self._deadline = True, time.monotonic()
        stages = graph.load(self._root, self._lose_patience)
        if not unchanged.is_all_here(stages[self._name]):
            return None
        self._work(stages, ask_dvc=ask_dvc)
        return self._record

    def _work(self, stages: graph.Graph, *, ask_dvc: bool = True) -> None:
        node = stages[self._name]
        self._look = unchanged.Look(self._root, stages, node)
        # Whether nothing but the workspace decides what there is to do.
        plain = not self._force and self._sharing == Sharing()
        with locks.hold(self._root, node, self._deadline, self._give_up):
            found = self._look.recall() if plain else None
            if found:
                self._record, self.deps = found
            elif ask_dvc:
                if plain:
                    self._look.begin()
                self._reproduce(node)

    def _reproduce(self, node: StageNode) -> None:
        """Lets DVC look at the stage, and run it."""
        self._data_sources = node.data_sources
        outs = [self._root / out for out in node.outs]
        places = [self._root]
        with (
            full_disk.told(self._name, places, outs),
            self._command.in_place(),
            locks.open_repo(
                self._root, self._lose_patience, self._command.token, self._sharing.login
            ) as repo,
        ):
            runs = Path(repo.stage_cache.cache_dir)
            places += [runs.parent, Path(repo.tmp_dir), Path(repo.site_cache_dir)]
            self._command.heal(runs, outs)
            self._share(repo)
            if self._sharing.entries:
                with locks.locked(repo, self._name):
                    lock_entries.merge(self._root, self._sharing.entries)
            require_readable(repo, self._name, node.deps)
            if cache_proof.wanted():
                cache_proof.prove_restores(repo)
            try:
                attempts.on_steady_inputs(
                    partial(self._try, repo), self._command, self._wait_no_longer
                )
            except DvcException as error:
                told = dvc_errors.told_apart(error, self._command)
                if type(told) is EngineError:  # DVC's own saving broke off
                    self._command.sweep(runs, outs)
                # An error that came through DVC has it as its cause already.
                raise told from (None if told.__traceback__ else error)
            except BaseException:
                # A timeout raised into DVC's waiting leaves the command running.
                self._command.stop()
                raise
            self._push()

    def kill(self) -> None:
        """Stops the run: ends the command with all that it started, within 5 seconds.

        Made for a signal handler of the thread that runs ``reproduce``, which then raises
        StageFailedError as soon as DVC has let go of its locks. A command that is over already
        is not lost: its result is saved.
        """
        self._stopped = True
        self._command.stop()

    def _share(self, repo: Repo) -> None:
        if self._sharing.pull or self._sharing.push:
            remote_of(repo)  # there is one, or nothing runs
            self._transfers = Transfers(repo, self._name, self._give_up)
            if self._sharing.pull:
                self._pulling = Pulling(repo, self._transfers, isolated=self._sharing.isolated)

    def _push(self) -> None:
        """Pushes what was saved; a retry pushes what this one leaves behind, and runs nothing."""
        if self._transfers and self._sharing.push:
            ran = self._record is not None and self._record.state != "unchanged"
            self._transfers.push(self._root, self._saved, whole=ran)
            if self._run_key:
                self._transfers.push_run(self._run_key)
        if self._transfers and self._record:
            self._record = replace(
                self._record, fetched=self._transfers.fetched, pushed=self._transfers.pushed
            )

    def _give_up(self) -> None:
        if self._stopped:
            raise dvc_errors.stopped(self._command)

    def _lose_patience(self) -> None:
        """Ends the waiting for DVC's lock, which ``dvc push`` or ``dvc gc`` may hold for long."""
        self._give_up()
        if time.monotonic() > self._deadline:
            raise dvc_errors.locked(self._name)

    def _wait_no_longer(self, error: LockError) -> None:
        """Ends the waiting for another process that is in DVC's rwlock."""
        self._give_up()
        if time.monotonic() > self._deadline:
            raise dvc_errors.busy(self._name, error) from error

    def _try(self, repo: Repo) -> None:
        with locks.locked(repo, self._name):
            try:
                repo.reproduce(
                    targets=[*self._data_sources, self._name],
                    single_item=True,
                    force=self._force,
                    repro_fn=self._step,
                )
            except ReproductionError as error:
                if not self._stopped or not self._command.began:
                    raise
                (stage,) = repo.stage.collect(self._name)
                stage.remove_outs()
                raise dvc_errors.stopped(self._command) from error

    def _step(self, stage: Stage, **options: Any) -> Stage | None:  # noqa: ANN401 - DVC's own options, passed on
        """Runs or skips the stage, in place of DVC's own step, and logs the reasons first."""
        self._give_up()
        if stage.addressing in self._data_sources:
            if self._pulling and self._pulling.is_left_alone(stage):
                return None
            self._saved += stage.outs
            return data_sources.save(self._root, stage, options)
        self._saved += stage.outs
        began = time.monotonic()
        before = reasons.hashes(stage)
        leftovers.remove(stage)
        self._look.at(stage)
        if self._is_unchanged(stage):
            self._record = self._tell(stage, (), before, began)
            self._look.keep(self._record, self.deps)
            return None
        if self._only_looks:
            return None
        why = reasons.find(stage, force=self._force)
        _log.info("stage %s: %s", self._name, "; ".join(map(str, why)))
        absent = dvc_errors.absent(self._name, *reasons.missing(stage))
        absent = absent or dvc_errors.frozen_without(self._name, reasons.missing_outs(stage))
        if absent:
            raise absent
        options.pop("upstream")
        if self._pulling and not self._force:
            self._pulling.bring_run(stage)
        inputs.guard(stage)
        done = stage.reproduce(**options)
        if done:
            with recovery.journal(self._root, reasons.noted_in(stage)):
                lock_entries.note(stage)
        if self._command.began:
            note_duration(self._root, self._name, self._command.seconds)
        if self._sharing.push:
            self._run_key = run_key(stage)
        self._record = self._tell(stage, why, before, began)
        return done  # type: ignore[no-any-return]  # DVC's

    def _is_unchanged(self, stage: Stage) -> bool:
        if self._pulling and self._force:
            self._pulling.bring_deps(stage)
        if self._force:
            return False
        return self._pulling.is_unchanged(stage) if self._pulling else not stage.changed()

    def _tell(
        self,
        stage: Stage,
        why: tuple[Change, ...],
        before: dict[str, str],
        began: float,
    ) -> StageResult:
        state: StageState = "unchanged"
        if why:
            fetched = not stage.cmd  # an import: DVC itself did what there is to do
            state = "ran" if self._command.began or fetched else "restored"
        self.deps = reasons.deps(stage)
        saved = 0.0 if state == "ran" else last_duration(self._root, self._name) or 0.0
        return StageResult(
            stage=self._name,
            command=reasons.lines(stage.cmd or ""),
            state=state,
            reasons=why,
            seconds=round(time.monotonic() - began, 3),
            saved_seconds=saved,
            outs=reasons.outs(stage, before),
            host=socket.gethostname(),
            entry=lock_entries.entry_of(stage) if self._sharing.isolated else "",
        )

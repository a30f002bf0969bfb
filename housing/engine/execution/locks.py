"""Locks with waiting: DVC's repository lock, and the engine's own lock on each stage."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import dvc.lock
import psutil
from dvc.repo import Repo, lock_repo

from housing.engine.errors import StageBusyError
from housing.engine.execution import compiled_schema, parsed_files, recovery
from housing.engine.execution.recovery import OwnEntries
from housing.engine.graph.nodes import StageNode

if TYPE_CHECKING:
    from housing.engine.execution.remote_login import RemoteLogin

_log = logging.getLogger("housing.engine.execution")

POLL = 0.02
"""Seconds between two tries; DVC's own 0.5 s make 16 stages run one after the other."""

_SAY_EVERY = 600.0
_FOLDER = Path(".dvc/tmp/housing/locks")


class Patience:
    """How DVC's repository lock is waited for: as long as the caller says.

    DVC itself gives up after 3 s, also where a stage has run and only its result is still to be
    saved: that result would be lost. Holders keep the lock while they load and while they hash.

    Args:
        lockfile: DVC's lock file.
        give_up: Says at each try whether waiting should end, by raising; it is asked only until
            the lock is held for the first time.
        own: The entries of this process in DVC's rwlock, which must survive its absence.
    """

    def __init__(self, lockfile: str, give_up: Callable[[], None], own: OwnEntries) -> None:
        self._lockfile = lockfile
        self._give_up = give_up
        self._own = own
        self._held_before = False
        self._say_at = 0.0

    def begin(self) -> None:
        """The waiting begins."""
        self._say_at = time.monotonic() + 1

    def wait(self) -> None:
        """The lock was not to be had: waits for the next try."""
        if not self._held_before:
            self._give_up()
        if time.monotonic() > self._say_at:
            _log.info("waiting for DVC's lock %s, which somebody else holds", self._lockfile)
            self._say_at = time.monotonic() + _SAY_EVERY
        time.sleep(POLL)

    def taken(self) -> None:
        """The lock is held."""
        self._held_before = True
        self._own.bring_back()

    def letting_go(self) -> None:
        """The lock is about to be free: at the end, or while the command runs."""
        self._own.note()


class PatientLock(dvc.lock.Lock):
    """DVC's lock of the kernel, which a killed holder loses."""

    def __init__(self, lockfile: str, patience: Patience) -> None:
        super().__init__(lockfile)  # type: ignore[no-untyped-call]  # DVC's
        self._patience = patience

    def lock(self) -> None:
        """Takes the lock, however long it takes."""
        self._patience.begin()
        while not self._try():
            self._patience.wait()
        self._patience.taken()

    def unlock(self) -> None:
        """Lets go of the lock."""
        self._patience.letting_go()
        super().unlock()  # type: ignore[no-untyped-call]  # DVC's

    def _try(self) -> bool:
        try:
            self._do_lock()  # type: ignore[no-untyped-call]  # DVC's
        except dvc.lock.LockError:
            return False
        return True


class PatientHardlinkLock(dvc.lock.HardlinkLock):
    """DVC's lock by hard links (``core.hardlink_lock``), which a killed holder leaves behind."""

    def __init__(self, lockfile: str, tmp_dir: str, patience: Patience) -> None:
        super().__init__(lockfile, tmp_dir=tmp_dir, wait=True)  # type: ignore[no-untyped-call]  # DVC's
        self._patience = patience

    def lock(self, _timeout: object = None) -> None:
        """Takes the lock, however long it takes."""
        self._patience.begin()
        try:
            super().lock()
        except BaseException:
            Path(self._claimfile).unlink(missing_ok=True)
            raise
        self._patience.taken()

    def unlock(self, *, unconditionally: bool = False) -> None:
        """Lets go of the lock."""
        self._patience.letting_go()
        super().unlock(unconditionally=unconditionally)

    def _sleep(self) -> None:
        self._patience.wait()


@contextlib.contextmanager
def open_repo(
    root: Path, give_up: Callable[[], None], token: str = "", login: RemoteLogin | None = None
) -> Iterator[Repo]:
    """Opens DVC's repository with a patient lock.

    Args:
        root: DVC's root folder.
        give_up: See ``Patience``.
        token: Name of this run in DVC's rwlock, if it gets entries there.
        login: Credentials of the default remote; None where this machine has them itself.
    """
    compiled_schema.use()
    parsed_files.use()
    # The folder of a DAG bundle has no git.
    git = any((folder / ".git").exists() for folder in (root, *root.parents))
    # Set here they stay: DVC reads its files again at each lock.
    config = ({} if git else {"core": {"no_scm": True}}) | (login.settings(root) if login else {})
    with Repo(str(root), _wait_for_lock=True, config=config) as repo:
        lockfile = repo.lock.lockfile
        patience = Patience(lockfile, give_up, OwnEntries(root, token))
        if repo.config["core"].get("hardlink_lock"):
            repo.lock = PatientHardlinkLock(lockfile, repo.tmp_dir, patience)
        else:
            repo.lock = PatientLock(lockfile, patience)
        repo.scm_context.quiet = True  # no advice to run git add in a task's log
        yield repo


@contextlib.contextmanager
def locked(repo: Repo, held: str = "") -> Iterator[None]:
    """Holds DVC's repository lock, with ``dvc.lock`` and DVC's rwlock in order.

    Args:
        repo: DVC's repository.
        held: The stage that the caller holds, so that nobody else runs it.
    """
    with lock_repo(repo):
        root = Path(repo.root_dir)
        recovery.finish_lockfiles(root)
        recovery.clear_rwlock(root, lambda name: name != held and is_running(root, name))
        yield


@contextlib.contextmanager
def let_go(repo: Repo) -> Iterator[None]:
    """Lets go of DVC's repository lock for a while, as DVC does while a command runs.

    Args:
        repo: DVC's repository, whose lock the caller holds.
    """
    lock: Any = repo.lock
    lock.unlock()
    repo._reset()  # type: ignore[no-untyped-call]  # what DVC calls then, too
    try:
        yield
    finally:
        lock.lock()
        recovery.finish_lockfiles(Path(repo.root_dir))


def holder(root: Path) -> str:
    """Who last took DVC's repository lock, in words.

    Args:
        root: DVC's root folder.
    """
    try:
        pid = int((root / ".dvc" / "tmp" / "lock").read_text(encoding="utf-8"))
        words = psutil.Process(pid).cmdline()
    except (OSError, ValueError, psutil.Error):
        return "somebody else, perhaps in another container,"
    return f"process {pid} ({' '.join(words)})"


@contextlib.contextmanager
def hold(
    root: Path, stage: StageNode, deadline: float, give_up: Callable[[], None]
) -> Iterator[None]:
    """Holds a stage for one run, and keeps the stages that it reads from running meanwhile.

    The kernel's file locks also count between containers that share the volume and not the
    process ids, and a killed holder loses them. The graph has no cycle, so two
    holders never wait for each other. A command that outlives its killed task (for seconds) is
    waited for as well.

    Args:
        root: DVC's root folder.
        stage: The stage, and the names of those upstream.
        deadline: Moment, on the monotonic clock, until which to wait for others.
        give_up: Says at each try whether waiting should end, by raising.

    Raises:
        StageBusyError: Others still run one of these stages.
    """
    with contextlib.ExitStack() as held:
        for name, how in (
            (stage.name, fcntl.LOCK_EX),
            *((up, fcntl.LOCK_SH) for up in stage.upstream),
        ):
            file = held.enter_context(lock_file(root, name).open("a"))
            _wait(file, how, name, deadline, give_up)
            with command_file(root, name).open("a") as command:
                _wait(command, how, name, deadline, give_up)
        yield


def _wait(
    file: IO[str], how: int, stage: str, deadline: float, give_up: Callable[[], None]
) -> None:
    said = False
    while not _flock(file, how):
        give_up()
        if not said:
            _log.info("waiting for stage %s, which somebody else runs", stage)
            said = True
        if time.monotonic() > deadline:
            raise StageBusyError(f"somebody else still runs stage {stage}", "try again later")
        time.sleep(POLL)


def _flock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_running(root: Path, stage: str) -> bool:
    """Whether somebody, in whatever container, runs this stage through this module."""
    with lock_file(root, stage).open("a") as file:
        return not _flock(file, fcntl.LOCK_SH)


def is_ended(root: Path, stage: str) -> bool:
    """Whether nothing is left of the stage's last command."""
    with command_file(root, stage).open("a") as file:
        return _flock(file, fcntl.LOCK_SH)


def lock_file(root: Path, stage: str) -> Path:
    """The file whose lock says that somebody runs the stage."""
    return _file(root, stage, "lock")


def command_file(root: Path, stage: str) -> Path:
    """The file whose lock says that the stage's command, or something it started, lives."""
    return _file(root, stage, "command")


def _file(root: Path, stage: str, kind: str) -> Path:
    folder = root / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{quote(stage, safe='@')}.{kind}"

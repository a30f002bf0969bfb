from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from housing.engine.errors import DiskFullError, StageFailedError
from housing.engine.execution import lockfile, stage_run
from tests.conftest import MakeRepo

# Half an out, children in sessions of their own, some of them deaf to TERM: all have to go.
LONG = dedent("""
    if [ -e quick ]; then cp in.txt out.txt; exit; fi
    setsid sh -c 'trap "" TERM; echo $$ >> pids; sleep 600; sleep 600' &
    sleep 600 &
    echo $$ $! >> pids
    echo half > out.txt
    touch started
    sleep 600
    echo rest >> out.txt
""")
FILES = {
    "in.txt": "whole\n",
    "work.sh": LONG,
    "dvc.yaml": dedent("""
        stages:
          work: {cmd: sh work.sh, deps: [in.txt], outs: [out.txt]}
          other: {cmd: cp in.txt other.txt, deps: [in.txt], outs: [other.txt]}
    """),
}
STOPPED = 77
FULL = SimpleNamespace(total=10**9, used=10**9, free=0)


@pytest.fixture
def root(make_repo: MakeRepo) -> Iterator[Path]:
    root = make_repo(FILES)
    yield root
    for pid in pids(root):
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def pids(root: Path) -> list[int]:
    path = root / "pids"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def in_child(body: Callable[[], object]) -> int:
    """Starts a process that does this in a group of its own, as an Airflow task does."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        body()
        code = 0
    except StageFailedError as error:
        sys.stderr.write(f"{error}\n")
        code = STOPPED
    finally:
        os._exit(code)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited for 30 s"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def heals(root: Path) -> None:
    """The next try works, and what it saves is whole."""
    (root / "quick").touch()
    assert stage_run.reproduce(root, "work").state in ("ran", "restored")
    assert (root / "out.txt").read_bytes() == (root / "in.txt").read_bytes()
    assert stage_run.reproduce(root, "work").state == "unchanged"
    is_sound(root)


def is_sound(root: Path) -> None:
    """No lock is left, and the cache holds under each hash what belongs there."""
    entries = json.loads((root / ".dvc/tmp/rwlock").read_text())
    assert not any(entries.values())
    assert not list((root / ".dvc/tmp/housing/runs").glob("*"))
    assert not list((root / ".dvc/tmp/housing/journal").glob("[!.]*"))
    for path in (root / ".dvc/cache/files/md5").glob("??/[!.]*"):
        if path.suffix == ".tmp":  # never looked up by its hash
            continue
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert path.parent.name + path.name == md5


def family(worker: int) -> dict[str, int]:
    """The processes of a running stage by their part in it."""
    (outer,) = psutil.Process(worker).children()
    (inner,) = outer.children()
    (command,) = (child for child in inner.children() if "work.sh" in " ".join(child.cmdline()))
    return {"worker": worker, "outer": outer.pid, "inner": inner.pid, "command": command.pid}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("victim", ["worker", "outer", "inner", "command", "group"])
def test_killed_while_the_command_runs(victim: str, number: signal.Signals, root: Path) -> None:
    worker = in_child(lambda: stage_run.reproduce(root, "work"))
    wait_until(lambda: (root / "started").exists() and len(pids(root)) == 3)
    everybody = [*family(worker).values(), *pids(root)]
    if victim == "group":
        os.killpg(worker, number)
    else:
        os.kill(family(worker)[victim], number)
    _, status = os.waitpid(worker, 0)
    dead = victim in ("worker", "group")
    assert os.waitstatus_to_exitcode(status) == (-number if dead else STOPPED)
    wait_until(lambda: all(map(gone, everybody)))
    assert "work" not in lockfile.read(root)
    heals(root)


@pytest.mark.parametrize("dead", [False, True], ids=["the worker lives", "the worker dies too"])
def test_both_supervisors_killed_at_once_leave_nothing_beside_a_retry(
    dead: bool, root: Path
) -> None:
    # Nobody is the parent of the second command then: a shell forks it, and dies alone.
    work = "if [ -e quick ]; then cp in.txt out.txt; exit; fi; true && sh second.sh"
    (root / "work.sh").write_text(f"{work} && true\n")
    (root / "second.sh").write_text(
        "setsid sleep 600 & echo $$ $! > pids; touch started\n"
        "while true; do echo half > out.txt; sleep 0.05; done\n"
    )
    worker = in_child(lambda: stage_run.reproduce(root, "work"))
    wait_until((root / "started").exists)
    processes = family(worker)
    del processes["command"]
    for pid in processes.values():
        os.kill(pid, signal.SIGSTOP)
    for pid in (processes["outer"], processes["inner"], *([worker] if dead else [])):
        os.kill(pid, signal.SIGKILL)
    os.kill(worker, signal.SIGCONT)
    _, status = os.waitpid(worker, 0)
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if dead else STOPPED)
    assert all(map(gone, pids(root))) == (not dead)
    heals(root)
    assert all(map(gone, pids(root)))


def test_a_task_that_is_told_to_stop_leaves_nothing_behind(root: Path) -> None:
    stage = stage_run.StageRun(root, "work")

    def body() -> None:
        signal.signal(signal.SIGTERM, lambda *_: stage.kill())
        stage.reproduce()

    worker = in_child(body)
    wait_until(lambda: (root / "started").exists() and len(pids(root)) == 3)
    os.kill(worker, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == STOPPED
    assert all(map(gone, pids(root)))
    assert not (root / "out.txt").exists()
    heals(root)


def test_a_task_that_waits_can_be_told_to_stop(root: Path) -> None:
    stage = stage_run.StageRun(root, "work")

    def body() -> None:
        signal.signal(signal.SIGTERM, lambda *_: stage.kill())
        (root / "waiting").touch()
        stage.reproduce()

    (root / "quick").touch()
    stage_run.reproduce(root, "other")
    with (root / ".dvc/tmp/lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        worker = in_child(body)
        wait_until((root / "waiting").exists)
        os.kill(worker, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == STOPPED
    heals(root)


class TimeoutRaisedError(BaseException):
    pass


def test_a_timeout_raised_into_the_wait_ends_the_command(root: Path) -> None:
    def expire(*_: object) -> None:
        raise TimeoutRaisedError

    (root / "work.sh").write_text(f"[ -e quick ] || kill -ALRM {os.getpid()}\n{LONG}")
    before = signal.signal(signal.SIGALRM, expire)
    try:
        with pytest.raises(TimeoutRaisedError):
            stage_run.reproduce(root, "work")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert all(map(gone, pids(root)))
    heals(root)


def test_a_retry_waits_until_nothing_is_left_of_a_killed_try(root: Path) -> None:
    (root / "work.sh").write_text(
        dedent("""
            if [ -e quick ]; then date +%s.%N > second; cp in.txt out.txt; exit; fi
            trap "" TERM
            date +%s.%N > first; touch started
            while true; do
              echo half > out.txt; date +%s.%N > first.part; mv first.part first; sleep 0.05
            done
        """)
    )
    worker = in_child(lambda: stage_run.reproduce(root, "work"))
    wait_until((root / "started").exists)
    (root / "quick").touch()
    os.kill(worker, signal.SIGKILL)
    assert stage_run.reproduce(root, "work").state == "ran"
    os.waitpid(worker, 0)
    assert float((root / "second").read_text()) > float((root / "first").read_text())
    assert (root / "out.txt").read_text() == "whole\n"
    is_sound(root)


def at_write(root: Path, act: Callable[[int], object]) -> None:
    """Calls back before every change that this process makes to files after a command ran."""
    count = 0
    over = False
    changing = {"os.rename", "os.remove", "os.chmod", "os.mkdir", "os.rmdir", "shutil.copyfile"}

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count, over
        writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if not (writes or event in changing) or not str(args[0]).startswith(str(root)):
            return
        over = over or (root / "made").exists()
        if over:
            count += 1
            act(count - 1)

    sys.addaudithook(hook)


def reproduce_and(root: Path, act: Callable[[int], object]) -> int:
    """Runs the stage anew in a child that acts at the writes of DVC's saving."""

    def body() -> None:
        at_write(root, act)
        stage_run.reproduce(root, "work")

    (root / "made").unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(os.waitpid(in_child(body), 0)[1])


def test_killed_at_every_write_of_saving(root: Path) -> None:
    (root / "work.sh").write_text("cp in.txt out.txt; touch made\n")
    stage_run.reproduce(root, "other")
    other = lockfile.read(root)["other"]
    (root / "made").unlink(missing_ok=True)
    at, killed = 0, -signal.SIGKILL
    while killed == -signal.SIGKILL:
        (root / "in.txt").write_text(f"{at}\n")

        def die(count: int, at: int = at) -> None:
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

        killed = reproduce_and(root, die)
        stage_run.reproduce(root, "work")
        assert (root / "out.txt").read_text() == f"{at}\n"
        assert lockfile.read(root)["other"] == other
        assert stage_run.reproduce(root, "work").state == "unchanged"
        is_sound(root)
        at += 5  # of some 50 places; every change of the code meets others
    assert killed == 0
    assert at > 30, "the saving was not met"


def test_told_to_stop_while_saving_the_result_is_kept(root: Path) -> None:
    (root / "work.sh").write_text("cp in.txt out.txt; touch made\n")
    stage = stage_run.StageRun(root, "work")

    def body() -> None:
        signal.signal(signal.SIGTERM, lambda *_: stage.kill())
        at_write(root, lambda count: os.kill(os.getpid(), signal.SIGTERM) if count == 1 else None)
        assert stage.reproduce().state == "ran"

    assert os.waitstatus_to_exitcode(os.waitpid(in_child(body), 0)[1]) == 0
    assert stage_run.reproduce(root, "work").state == "unchanged"
    is_sound(root)


def temporaries(root: Path) -> list[Path]:
    return [path for path in root.rglob("*.tmp") if path.is_file()]


def test_temporary_files_of_a_killed_save_are_swept_and_nobody_elses(root: Path) -> None:
    (root / "work.sh").write_text("cp in.txt out.txt; touch made\n")
    others = root / ".dvc/cache/files/md5/00/.JQs6xW8aQeVTwVUYLaBYTw.tmp"
    others.parent.mkdir(parents=True)
    others.write_text("another DVC writes here\n")

    def die(_count: int) -> None:
        if len(temporaries(root)) > 1:
            os.kill(os.getpid(), signal.SIGKILL)

    assert reproduce_and(root, die) == -signal.SIGKILL
    assert len(temporaries(root)) > 1
    assert stage_run.reproduce(root, "work").state == "ran"
    assert temporaries(root) == [others]
    is_sound(root)


def test_a_full_disk_is_named_with_what_is_needed_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "work.sh").write_text("cp in.txt out.txt; touch made\n")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Real ones are tried by hand on a small tmpfs, which only root may mount.
    monkeypatch.setattr("dvc_objects.fs.utils.shutil.copyfile", full)
    monkeypatch.setattr("housing.engine.execution.full_disk.shutil.disk_usage", lambda _: FULL)
    with pytest.raises(
        DiskFullError, match=f"the disk of {root}.* is full .0 B of 1.0 GB free.; the outs take 6 B"
    ) as at:
        stage_run.reproduce(root, "work")
    assert "dvc gc --workspace" in at.value.hint
    assert not temporaries(root)
    assert not lockfile.read(root)
    monkeypatch.undo()
    assert stage_run.reproduce(root, "work").state == "ran"


@pytest.mark.parametrize("before", [True, False], ids=["a lock file", "the first one"])
def test_a_disk_that_is_full_when_dvc_lock_is_written_leaves_it_as_it_was(
    before: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "work.sh").write_text("cp in.txt out.txt\n")
    if before:
        stage_run.reproduce(root, "other")
    known = lockfile.read(root)

    write_text = Path.write_text

    def cut_off(path: Path, text: str, **options: str) -> int:
        if path.name != "dvc.lock":
            return write_text(path, text, **options)
        write_text(path, text[: len(text) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", cut_off)
        with pytest.raises(DiskFullError):
            stage_run.reproduce(root, "work")
    assert lockfile.read(root) == known
    assert (root / "dvc.lock").exists() == before
    assert stage_run.reproduce(root, "work").state == "restored"
    is_sound(root)

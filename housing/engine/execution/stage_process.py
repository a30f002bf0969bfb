"""The command of one run: its supervisor in the place of DVC's shell, and what it noted."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from housing.engine.execution import locks, recovery, supervise, temporaries

_log = logging.getLogger("housing.engine.execution")

_RUNS = Path(".dvc/tmp/housing/runs")
_WITHHELD = re.compile(
    r"_?AIRFLOW_(?!HOME$|CTX_)|CELERY_|FLOWER_|(PG|POSTGRES_|REDIS_|[A-Z_]*DB_)PASSWORD$"
)
"""Variables that a command does not get: the settings of Airflow, which hold its keys and its
connections, and the passwords of databases. ``AIRFLOW_HOME`` and ``AIRFLOW_CTX_*`` hold none."""
_COOKIE = "HOUSING_STAGE_RUN"
"""Variable of a command and all that it starts: the folder of the run that they belong to."""
_WAIT = 4.5  # seconds: the supervisor kills after 2, Airflow kills the task after 5


@dataclass(frozen=True)
class Command:
    """The command of one run of a stage.

    Attributes:
        root: DVC's root folder.
        stage: The stage's name.
        folder: Where the supervisor notes what it does; made for this run alone.
        env: Variables that the command gets in addition, whatever their names.
    """

    root: Path
    stage: str
    folder: Path
    env: Mapping[str, str]

    @classmethod
    def of(cls, root: Path, stage: str, env: Mapping[str, str]) -> Command:
        """Names a folder for one run of a stage."""
        folder = root / _RUNS / f"{quote(stage, safe='@')}+{uuid.uuid4().hex[:12]}"
        return cls(root, stage, folder, env)

    @property
    def token(self) -> str:
        """Names this run in DVC's rwlock."""
        return self.folder.name

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Sets the process up for DVC, and back again afterwards.

        DVC resolves names relative to the working directory, takes ``$SHELL`` for commands and
        ``sys.argv`` for its rwlock, and leaves SIGINT ignored where it was left to the default.
        """
        shell = self._write_shell()
        argv, known = sys.argv, os.environ.get("SHELL")
        sys.argv = [*recovery.OWN.split(), quote(self.stage, safe="@"), self.token]
        os.environ["SHELL"] = str(shell)
        try:
            with (
                contextlib.chdir(self.root),
                _same_interrupt(),
                temporaries.named(_id(self.folder)),
            ):
                yield
        finally:
            sys.argv = argv
            if known is None:
                del os.environ["SHELL"]
            else:
                os.environ["SHELL"] = known
            if self.began and not self._is_over:
                _end_all_of(self.folder)
            shutil.rmtree(self.folder)

    def heal(self, run_cache: Path, outs: Iterable[Path]) -> None:
        """Puts right what killed runs of this stage left; the caller holds the stage.

        Args:
            run_cache: DVC's run cache.
            outs: The stage's outs.
        """
        every = self.folder.parent.glob(f"{quote(self.stage, safe='@')}+*")
        killed = [folder for folder in every if folder != self.folder]
        for folder in killed:
            _end_all_of(folder)
            temporaries.sweep(_id(folder), run_cache.parent, outs)
        if killed:
            recovery.drop_empty_runs(run_cache)
        for folder in killed:
            shutil.rmtree(folder)

    def sweep(self, run_cache: Path, outs: Iterable[Path]) -> None:
        """Removes the temporary files that DVC left in this run; see ``heal``."""
        temporaries.sweep(_id(self.folder), run_cache.parent, outs)

    def _write_shell(self) -> Path:
        """The executable that DVC takes for the shell.

        It has the name of the real one: by that name DVC chooses the shell's options.
        """
        real = os.environ.get("SHELL", "")
        program = real or "/bin/sh"
        lock = locks.command_file(self.root, self.stage)
        given = [str(os.getpid()), str(self.folder), str(lock), real]
        # Not in this process's own environment: Airflow reads its settings there at any time.
        withheld = [f"--unset={name}" for name in os.environ if _WITHHELD.match(name)]
        added = [f"{name}={value}" for name, value in self.env.items()]
        cookie = f"{_COOKIE}={self.folder}"
        start = shlex.join(
            ["env", *withheld, *added, cookie, sys.executable, "-IS", supervise.__file__, *given]
        )
        self.folder.mkdir(parents=True)
        script = self.folder / Path(program).name
        script.write_text(
            "#!/bin/sh\n"
            f'[ "$1" = --version ] && exec {shlex.quote(program)} --version\n'
            f'exec {start} "$@"\n',
            encoding="utf-8",
        )
        script.chmod(0o755)
        return script

    def stop(self) -> None:
        """Ends the command and all that it started, and waits for it; fit for signal handlers."""
        if not self.folder.exists():
            return
        (self.folder / "stop").touch()
        pids = [note["pid"] for note in self._notes() if "pid" in note]
        deadline = time.monotonic() + _WAIT
        # The supervisor holds the lock as long as it lives: its id is nobody else's till then.
        while not locks.is_ended(self.root, self.stage) and time.monotonic() < deadline:
            for pid in pids[-1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            pids.clear()
            time.sleep(locks.POLL)

    def forget(self) -> None:
        """Forgets the commands that were run: the stage is about to run anew."""
        (self.folder / "notes").unlink(missing_ok=True)

    @property
    def began(self) -> bool:
        """Whether any command was started."""
        return any("command" in note for note in self._notes())

    @property
    def seconds(self) -> float:
        """How long the commands took together."""
        return sum(float(note.get("seconds", 0)) for note in self._notes())

    @property
    def code(self) -> int:
        """Exit code of the last command; a negative one is the signal that ended it."""
        codes = [int(note["code"]) for note in self._notes() if "code" in note]
        return codes[-1] if codes else -signal.SIGKILL

    @property
    def _is_over(self) -> bool:
        """Whether a supervisor lived to see the end of the last command, and of all it started."""
        return "code" in self._notes()[-1]

    def _notes(self) -> list[dict[str, Any]]:
        try:
            text = (self.folder / "notes").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]


def _id(folder: Path) -> str:
    """What is unique in the name of a run's folder, without the stage's name."""
    return folder.name.rpartition("+")[2]


def _end_all_of(folder: Path) -> None:
    """Kills what is left of a run whose supervisors were killed both at once.

    Nobody is its parent then, and a second try would write the same outs beside it.

    Args:
        folder: The folder of the run.
    """
    while left := [process for process in psutil.process_iter() if _belongs(process, folder)]:
        _log.warning("killed what was left of %s: %s", folder.name, [p.pid for p in left])
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_WAIT)


def _belongs(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get(_COOKIE) == str(folder)
    except psutil.Error:  # ended meanwhile, or somebody else's
        return False


@contextlib.contextmanager
def _same_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)

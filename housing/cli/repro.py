"""``housing repro``: what ``dvc repro`` does, but it waits for a run that is going on."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

from housing.cli.run import INTERRUPTED
from housing.engine import graph
from housing.engine.errors import StageFailedError
from housing.engine.execution.stage_result import StageResult
from housing.engine.execution.stage_run import StageRun
from housing.engine.graph import Graph
from housing.settings import load_settings

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def reproduce(names: list[str], *, as_json: bool) -> int:
    """Brings stages up to date, each after those that it reads from, and prints what that did.

    A person's ``dvc repro`` fails at once while the DAG runs a stage; this waits for that stage.

    Args:
        names: The stages, as DVC addresses them; none for all.
        as_json: Print the records as JSON at the end; all else goes to standard error.

    Returns:
        The exit code: 0 done, 130 interrupted.

    Raises:
        GraphError: There is no such stage, or ``dvc.yaml`` is wrong.
        EngineError: A stage failed, or somebody kept it busy for too long.
    """
    root = load_settings().root
    todo = _in_order(graph.load(root), names)
    _log_to_stderr()
    records: list[StageResult] = []
    with _Stopping() as stopping, _stdout(kept_free=as_json):
        for name in todo:
            record = stopping.unless_asked(StageRun(root, name))
            if record is None:
                break
            records.append(record)
            if not as_json:
                sys.stdout.write(record.render() + "\n")
                sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps([record.to_dict() for record in records], indent=2) + "\n")
    return INTERRUPTED if stopping.asked else 0


def _in_order(stages: Graph, names: list[str]) -> list[str]:
    """The named stages and all upstream of them, each after those that it reads from."""
    wanted: set[str] = set()
    todo = list(names or stages.names)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += stages[name].upstream
    return [name for name in stages.names if name in wanted]


def _log_to_stderr() -> None:
    """Shows why a stage runs and whom it waits for; DVC shows its own lines by itself."""
    log = logging.getLogger("housing.engine.execution")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)


@contextmanager
def _stdout(*, kept_free: bool) -> Iterator[None]:
    """Leads what DVC and the commands print to standard error, where a script reads the rest."""
    if not kept_free:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


class _Stopping:
    """Ends the running stage's command when a signal asks for it.

    The stage runs in a thread: the main thread is where signals arrive, and there DVC would
    ignore an interrupt as long as a command runs.

    Attributes:
        asked: Whether a signal came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._stage: StageRun | None = None
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> _Stopping:
        # A signal that is ignored already, as by nohup, stays so.
        wanted = [number for number in _STOP if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._stop) for number in wanted}
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def unless_asked(self, stage: StageRun) -> StageResult | None:
        """Runs a stage to its end; None where a signal asked to stop before that."""
        self._stage = stage
        if self.asked:
            return None
        try:
            return self._pool.submit(stage.reproduce).result()
        except StageFailedError:
            if not self.asked:
                raise
            return None

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._stage:
            self._stage.kill()

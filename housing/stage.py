"""What every script in ``stages/`` shares: parameters in, an exit code and a duration out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from housing.domain.config import Params, load_params
from housing.engine.errors import ExplainedError
from housing.engine.root import dvc_root
from housing.engine.stage_notes import note_duration
from housing.errors import ConfigError


def run(body: Callable[[Params], None], *, without: tuple[str, ...] = ()) -> NoReturn:
    """Runs the body of a stage's script in DVC's working directory, and ends the process.

    A known error ends the process with its message, without a traceback: with exit code 78 where
    the configuration is wrong and 65 where any other fault is permanent (``EX_CONFIG`` and
    ``EX_DATAERR`` of sysexits.h, which Airflow does not try again), else with 1. Any other error
    keeps its traceback.
    How long the stage took is noted beside DVC's own temporary files, never in an output: outputs
    stay pure functions of deps and params.

    Args:
        body: Reads the stage's inputs and writes its outputs.
        without: Packages that a library would import for classes that the stage does not use. They
            are hidden from it where nothing has loaded them yet.
    """
    start = time.monotonic()
    try:
        with _hidden(without):
            body(load_params(Path("params.yaml")))
    except ExplainedError as error:
        sys.stderr.write(f"error: {error}\n")
        leave(_exit_code(error))
    root = dvc_root()
    if root:
        note_duration(root, os.environ["DVC_STAGE"], time.monotonic() - start)
    leave(os.EX_OK)


@contextmanager
def _hidden(packages: tuple[str, ...]) -> Iterator[None]:
    """Lets an import of these packages fail, as if they were not installed."""
    new = [name for name in packages if name not in sys.modules]
    for name in new:
        sys.modules[name] = None  # type: ignore[assignment] # Python's way to forbid an import
    try:
        yield
    finally:
        for name in new:
            del sys.modules[name]


def leave(code: int) -> NoReturn:
    """Ends the process at once, with everything printed.

    A thread of Arrow that reads ahead may still hold a file of Python's. While Python winds up,
    that thread would abort the process, whose exit code then tells nothing of the error. Winding up
    also takes 0.1 s of a processor after Polars was loaded, and half a second after MLflow.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(error: ExplainedError) -> int:
    if isinstance(error, ConfigError):
        return os.EX_CONFIG
    return os.EX_DATAERR if error.permanent else 1


def say(*lines: str) -> None:
    """Prints what the stage did, for whoever reads its log."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))

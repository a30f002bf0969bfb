"""A logged model that runs in a process of its own, with the code that was logged with it.

In this process ``housing`` is the code of today, which may differ from the code that the model was
judged with. The process has no secrets: of the environment it gets what Python needs to run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, cast

from housing.errors import ModelError, ModelStoppedError
from housing.mlops.tracking.bundle import EXPLAINS, PACKAGE

if TYPE_CHECKING:
    import polars as pl

PATIENCE = 600.0
"""Seconds that loading the model, or pricing one table, may take."""
NEEDED = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"})
NEEDED_PREFIXES = ("PYTHON", "LC_", "OMP_", "POLARS_")
OWN = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    # A chunk of rows is priced on each core: threads inside of one would wait for the others'.
    "OPENBLAS_NUM_THREADS": "1",
}
_CHUNK = 1 << 16
_GRACE = 5.0
"""Seconds that a process has to end, once it has closed its pipes."""
_LAST_CHUNKS = 4
_PRICES = frozenset({"prediction", "lower", "upper"})


class Worker:
    """Prices tables in a process that dies with this one; to be used in a ``with`` block.

    The thread that enters the block must outlive it: Linux ends the process with that thread.

    Args:
        bundle: Folder of the logged model, whose files are proved.
        patience: Seconds that loading the model, or pricing one table, may take.
    """

    def __init__(self, bundle: Path, patience: float = PATIENCE) -> None:
        self._bundle = bundle
        self._explains = (bundle / "code" / PACKAGE.name / EXPLAINS).is_file()
        self._patience = patience
        self._said: deque[bytes] = deque(maxlen=_LAST_CHUNKS)
        self._timed_out = False

    def __enter__(self) -> Self:
        script = str(Path(__file__).with_name("score_worker.py"))
        # -P keeps the script's folder off the import path: its neighbours are modules too.
        command = [sys.executable, "-P", script, str(self._bundle), str(os.getpid())]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=scrubbed(os.environ),
            cwd=self._bundle,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            _close(cast(IO[bytes], pipe))

    def price(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Asks the model.

        Args:
            rows: Typed rows with the model's input columns, at least one.

        Returns:
            `prediction`, `lower` and `upper` in dollars, and what else the model says; a line for
            each row. A price is null where the model refuses the row.

        Raises:
            ModelError: The model cannot be loaded, or cannot predict these rows.
            ModelStoppedError: It was killed, or gives no answer in time.
        """
        return self._answer(rows, "price", _PRICES)

    def explain(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Asks the model why it gives these prices.

        Args:
            rows: As `price` takes them.

        Returns:
            `explanation`, a `housing.domain.explanation.Explanation` as JSON, null where the model
            refuses the row; `reasons` say why. A line for each row.

        Raises:
            ModelError: As `price`, or the model was logged before models could explain.
            ModelStoppedError: As `price`.
        """
        if not self._explains:
            raise ModelError(
                "the logged model is older than the explanations of prices",
                "housing run logs one that explains its prices",
            )
        return self._answer(rows, "explain", frozenset({"explanation"}))

    def _answer(self, rows: pl.DataFrame, asked: str, needed: frozenset[str]) -> pl.DataFrame:
        import pyarrow as pa

        timer = threading.Timer(self._patience, self._give_up)
        timer.start()
        try:
            answer = self._ask(rows, asked)
        except (OSError, pa.ArrowException) as error:
            raise self._failure() from error
        finally:
            timer.cancel()
        if answer.height != rows.height or not needed.issubset(answer.columns):
            raise ModelError(
                f"the logged model answers {rows.height} rows by {answer.height} rows of "
                f"{', '.join(answer.columns)}",
                "look at pyfunc_model.py of the model in MLflow",
            )
        return answer

    def _ask(self, rows: pl.DataFrame, what: str) -> pl.DataFrame:
        import polars as pl
        import pyarrow as pa

        asked, answered = self._process.stdin, self._process.stdout
        table = rows.to_arrow().replace_schema_metadata({"housing.asked": what})
        with pa.ipc.new_stream(asked, table.schema) as stream:
            stream.write_table(table)
        cast(IO[bytes], asked).flush()
        with pa.ipc.open_stream(answered) as stream:
            return cast(pl.DataFrame, pl.from_arrow(stream.read_all()))

    def _give_up(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _listen(self) -> None:
        """Keeps what the process said last; a pipe that nobody reads would stop it."""
        errors = cast(IO[bytes], self._process.stderr)
        while chunk := os.read(errors.fileno(), _CHUNK):
            self._said.append(chunk)

    def _failure(self) -> ModelError | ModelStoppedError:
        code = self._end()
        self._listener.join()
        if self._timed_out:
            fact = f"the logged model gave no answer within {self._patience:g} s"
            return ModelStoppedError(fact, "look at the machine's load, then the same again")
        if code < 0:
            fact = f"the process of the logged model was killed by signal {-code}"
            return ModelStoppedError(
                fact, "look at the machine's memory (dmesg), then the same again"
            )
        text = b"".join(self._said).decode(errors="replace").strip()
        last = (text.splitlines() or [f"no message, exit code {code}"])[-1]
        return ModelError(
            f"the logged model cannot predict: {last}",
            "compare the columns of data.columns with the model's signature in MLflow",
        )

    def _end(self) -> int:
        """The exit code of a process that closed its pipes; 1 where it did not end by itself."""
        try:
            return self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return 1


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """What a logged model gets of an environment: no password, no address, no key.

    Args:
        environment: All variables.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in NEEDED or name.startswith(NEEDED_PREFIXES) or name.endswith("_NUM_THREADS")
    }
    return kept | OWN


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return  # what is left in its buffer has no reader

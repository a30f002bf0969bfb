"""Loads a logged model and prices tables: a script, started by `housing.mlops.tracking.worker`.

It imports nothing of this package, so that the model's own copy of it is the one that runs, and
loads the model as MLflow's own server does. Each table comes on standard input as an Arrow IPC
stream of its own, and is answered by one on standard output; both end with the last table.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1


def main(bundle: str, parent: int) -> None:
    """Answers tables until there are no more.

    Args:
        bundle: Folder of the logged model.
        parent: Process that asks; this one dies with it.
    """
    _die_with(parent)
    tables, answers = _own_pipes()
    import mlflow.pyfunc
    import polars as pl
    import pyarrow as pa
    from mlflow.types import DataType

    # Its warnings compare all installed packages with the requirements, for half a second.
    model = mlflow.pyfunc.load_model(bundle, suppress_warnings=True)
    # MLflow takes no integers in a column of doubles, as which it declares those with missing ones.
    inputs = model.metadata.get_input_schema().inputs
    doubles = {column.name for column in inputs if column.type == DataType.double}
    while tables.peek(1):  # type: ignore[attr-defined] # it is a BufferedReader
        with pa.ipc.open_stream(tables) as stream:
            rows = pl.DataFrame(stream.read_all())
        rows = rows.cast(dict.fromkeys(doubles.intersection(rows.columns), pl.Float64))
        answer = pl.from_pandas(model.predict(rows.to_pandas())).to_arrow()
        with pa.ipc.new_stream(answers, answer.schema) as stream:
            stream.write_table(answer)
        answers.flush()


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes, out of reach of the model: what it prints is no answer."""
    tables, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return tables, answers


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before this
        sys.exit("the process that asked is gone")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

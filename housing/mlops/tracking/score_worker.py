"""Loads a logged model and prices tables: a script, started by `housing.mlops.tracking.worker`.

What it imports of this package is the model's own copy, which is first on the import path. Each
table comes on standard input as an Arrow IPC stream of its own, whose schema says what is asked of
it, and is answered by one on standard output; both end with the last table.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import polars as pl

    Pricing = Callable[[pl.DataFrame], pl.DataFrame]

_PR_SET_PDEATHSIG = 1
_APPRAISER = "housing/domain/appraiser.py"
_ASKED, _PRICE = b"housing.asked", b"price"
_OPTIONAL = ("sklearn", "sqlalchemy")
"""What xgboost and dataframely import where it is installed, for more than a second of a core, to
offer classes that no model here uses."""


def main(bundle: Path, parent: int) -> None:
    """Answers tables until there are no more.

    Args:
        bundle: Folder of the logged model.
        parent: Process that asks; this one dies with it.
    """
    _die_with(parent)
    tables, answers = _own_pipes()
    import polars as pl
    import pyarrow as pa

    answers_to = _load(bundle)
    while tables.peek(1):  # type: ignore[attr-defined] # it is a BufferedReader
        with pa.ipc.open_stream(tables) as stream:
            asked = (stream.schema.metadata or {}).get(_ASKED, _PRICE)
            rows = pl.DataFrame(stream.read_all())
        answer = answers_to[asked](rows).to_arrow()
        with pa.ipc.new_stream(answers, answer.schema) as stream:
            stream.write_table(answer)
        answers.flush()


def _load(bundle: Path) -> dict[bytes, Pricing]:
    """The ways from rows to answers that were logged with the model."""
    import yaml

    model = yaml.safe_load((bundle / "MLmodel").read_text(encoding="utf-8"))
    flavor = model["flavors"]["python_function"]
    code = bundle / flavor["code"]
    if not (code / _APPRAISER).is_file():
        return {_PRICE: _load_by_mlflow(bundle)}
    sys.path.insert(0, str(code))
    with _hidden(*_OPTIONAL):
        import dataframely  # noqa: F401 - loads it before the model does
        import xgboost  # noqa: F401
    from housing.domain.appraiser import Appraiser

    files = {name: bundle / entry["path"] for name, entry in flavor["artifacts"].items()}
    appraiser = Appraiser.load(files)
    answers: dict[bytes, Pricing] = {_PRICE: appraiser.price}
    if hasattr(appraiser, "explain"):  # the model was logged since there are explanations
        answers[b"explain"] = appraiser.explain
    return answers


def _load_by_mlflow(bundle: Path) -> Pricing:
    """The way of a model that was logged before its code could be called without MLflow.

    MLflow's import alone takes two seconds of a core.
    """
    import mlflow.pyfunc
    import polars as pl
    from mlflow.types import DataType

    # Its warnings compare all installed packages with the requirements, for half a second.
    model = mlflow.pyfunc.load_model(str(bundle), suppress_warnings=True)
    # MLflow takes no integers in a column of doubles, as which it declares those with missing ones.
    inputs = model.metadata.get_input_schema().inputs
    doubles = {column.name for column in inputs if column.type == DataType.double}

    def price(rows: pl.DataFrame) -> pl.DataFrame:
        cast = rows.cast(dict.fromkeys(doubles.intersection(rows.columns), pl.Float64))
        answer: pl.DataFrame = pl.from_pandas(model.predict(cast.to_pandas()))
        return answer

    return price


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Lets an import of these packages fail, as if they were not installed.

    `housing.stage` has the same; what this script imports of the package would be in the way of
    the model's own copy.
    """
    new = [name for name in packages if name not in sys.modules]
    for name in new:
        sys.modules[name] = None  # type: ignore[assignment] # Python's way to forbid an import
    try:
        yield
    finally:
        for name in new:
            del sys.modules[name]


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
    main(Path(sys.argv[1]), int(sys.argv[2]))

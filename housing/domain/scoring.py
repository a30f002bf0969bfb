"""Batch scoring: a file of houses in, a file of prices out, in memory that does not grow.

Rows are read and checked just as in training, by the rules that were logged with the model, and are
priced by the model's own process. It prices a batch while the next one is read, so every core is
busy and only a few batches are in memory at any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from housing.domain.columns import Column, CsvParams, Frozen
from housing.domain.data.check import Tally, checked
from housing.domain.data.landing import open_delivery
from housing.domain.data.quality import describe
from housing.domain.data.schema import FILE, REASONS, ROW, RowSchema, Split
from housing.errors import DataError

PREDICTIONS = pa.schema(
    {
        ROW: pa.int64(),
        "prediction": pa.float64(),
        "lower": pa.float64(),
        "upper": pa.float64(),
        "model_version": pa.dictionary(pa.int32(), pa.large_string()),
    }
)
"""Columns of the predictions: number of the row in its file from 1, dollars, version."""
SAMPLE_ROWS = 20_000
"""Rows that tell what a file looks like: up to twice as many, and all of a smaller file."""
_KEY = b"housing.scores"
_NOTHING = pl.DataFrame(schema=dict.fromkeys(("prediction", "lower", "upper"), pl.Float64))


class Pricer(Protocol):
    """Prices batches, one at a time."""

    def price(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Prices houses.

        Args:
            rows: Typed rows with the model's input columns, at least one.

        Returns:
            `prediction`, `lower`, `upper` (dollars, Float64), a row for each house. Where the model
            itself refuses a row they are null, and `reasons` says why.
        """

    def explain(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Explains prices.

        Args:
            rows: As `price` takes them.

        Returns:
            `explanation`, see `housing.domain.explanation.Explanation`, as JSON; null where the
            model refuses a row, and `reasons` says why. A row for each house.
        """


@dataclass(frozen=True)
class ServedModel:
    """A model that can price houses.

    Attributes:
        run_id: Its MLflow run, which tells it from every other model.
        version: Its version in the registry.
        columns: Its input columns with their rules, by name.
        opened: Starts what prices, for the length of a ``with`` block.
    """

    run_id: str
    version: str
    columns: Mapping[str, Column]
    opened: Callable[[], AbstractContextManager[Pricer]]


class Scores(Frozen):
    """What became of a file. It is kept inside the predictions' file, as its metadata.

    Attributes:
        file: Name of the file.
        source: SHA-256 of its content.
        run_id: MLflow run of the model.
        version: Version of the model in the registry.
        rows: Rows in the file.
        scored: Rows that have a price.
        quarantined: Rows that broke a rule.
        reasons: How many rows broke each rule.
        seconds: How long it took.
        columns: What a sample of the scored rows looks like, see
            `housing.domain.data.quality.describe`.
    """

    file: str
    source: str
    run_id: str
    version: str
    rows: int
    scored: int
    quarantined: int
    reasons: dict[str, int]
    seconds: float
    columns: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, predictions: Path) -> Self | None:
        """Reads what `score` wrote, or answers None where it did not write this file."""
        if not predictions.is_file():
            return None
        kept = (pq.read_metadata(predictions).metadata or {}).get(_KEY)
        return None if kept is None else cls.model_validate_json(kept)


def score(  # noqa: PLR0913, PLR0917 - what comes in, what goes out, and by what
    source: Path,
    predictions: Path,
    quarantine: Path,
    model: ServedModel,
    watch: Callable[[int], None] = lambda _: None,
    csv: CsvParams | None = None,
) -> Scores:
    """Prices all houses of a file.

    Where the predictions of this content by this model lie there already, nothing is done. Both
    results are whole or not there: they get their names when everything is written, the
    predictions last.

    Args:
        source: A CSV or Parquet file with at least the input columns.
        predictions: Parquet file to write, with the columns of `PREDICTIONS`.
        quarantine: Parquet file to write: the rows that have no price as text, with ``file``,
            ``row`` and ``reasons``.
        model: Prices the rows.
        watch: Told after each batch how many rows are done.
        csv: How CSV files are written.

    Raises:
        DataError: The file does not fit, cannot be read to its end, or changed while it was read.
        ModelError: The model cannot price it.
    """
    start = time.monotonic()
    csv = csv or CsvParams()
    schema = RowSchema(model.columns, csv)
    delivery = open_delivery(source, schema.names, csv)
    content = digest(source)
    known = Scores.read(predictions)
    if known and (known.source, known.run_id) == (content, model.run_id):
        return known
    tally, sample = Tally(), _Sample(pl.DataFrame(schema=schema.dtypes))
    names = (FILE, ROW, REASONS, *schema.names)
    bad_rows = pa.schema({n: pa.int64() if n == ROW else pa.large_string() for n in names})
    with (
        _replacing(predictions, PREDICTIONS) as good,
        _replacing(quarantine, bad_rows) as bad,
        model.opened() as pricer,
    ):
        price = partial(_price, source.name, model.version, pricer)
        for split, scored in _in_order(checked(delivery, schema), price):
            tally.add(split)
            good.write_table(scored)
            bad.write_table(split.bad.select(names).to_arrow().cast(bad_rows))
            sample.add(split.good)
            watch(tally.rows)
        scores = Scores(
            file=source.name,
            source=content,
            run_id=model.run_id,
            version=model.version,
            rows=tally.rows,
            scored=tally.rows - tally.bad,
            quarantined=tally.bad,
            reasons=dict(tally.reasons),
            seconds=round(time.monotonic() - start, 3),
            columns=describe(sample.rows),
        )
        good.add_key_value_metadata({_KEY: scores.model_dump_json().encode()})
    return scores


@dataclass
class _Sample:
    """Each step-th priced row of a file, whose step doubles when the sample grows too large.

    However a reader cuts the file into batches, the sample is the same.
    """

    rows: pl.DataFrame
    step: int = 1
    seen: int = 0

    def add(self, batch: pl.DataFrame) -> None:
        self.rows = self.rows.vstack(batch.gather_every(self.step, -self.seen % self.step))
        self.seen += batch.height
        while self.rows.height > 2 * SAMPLE_ROWS:
            self.rows = self.rows.gather_every(2)
            self.step *= 2


def digest(file: Path) -> str:
    """SHA-256 of a file's content, read in constant memory.

    Raises:
        DataError: There is no such file.
    """
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise DataError(f"there is no file {file}", "check the path") from error


def priced(rows: pl.DataFrame, model: ServedModel) -> tuple[pl.DataFrame, Scores]:
    """Prices rows by way of a file, just as batch scoring does.

    Args:
        rows: Rows with at least the model's input columns.
        model: Prices the rows.

    Returns:
        The table of `PREDICTIONS`, in which quarantined rows are missing, and what became of all.

    Raises:
        DataError: The rows lack a column.
        ModelError: The model cannot price them.
    """
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        source, good, bad = (Path(folder) / f"{n}.parquet" for n in ("rows", "prices", "bad"))
        rows.write_parquet(source)
        scores = score(source, good, bad, model)
        return pl.read_parquet(good), scores


def _in_order(
    splits: Iterator[Split], price: Callable[[Split, int], tuple[Split, pa.Table]]
) -> Iterator[tuple[Split, pa.Table]]:
    """Prices a batch while the next one is read, and hands them on in their order."""
    waiting: deque[Future[tuple[Split, pa.Table]]] = deque()
    first_row = 1
    pool = ThreadPoolExecutor(1, "scoring")
    try:
        for split in splits:
            waiting.append(pool.submit(price, split, first_row))
            first_row += split.good.height + split.bad.height
            if len(waiting) > 1:
                yield waiting.popleft().result()
        for done in waiting:
            yield done.result()
    finally:
        # Whoever is interrupted does not wait for a model that may hang: its process ends next.
        pool.shutdown(wait=False, cancel_futures=True)


def _price(
    file: str, version: str, pricer: Pricer, split: Split, first_row: int
) -> tuple[Split, pa.Table]:
    good = np.ones(split.good.height + split.bad.height, dtype=np.bool_)
    good[split.bad[ROW].to_numpy() - first_row] = False
    rows = pl.Series(ROW, np.flatnonzero(good) + first_row, pl.Int64)
    answer = pricer.price(split.good) if split.good.height else _NOTHING
    priced = answer["prediction"].is_not_null()
    if not priced.all():
        refused = _refused(file, split.good, rows, answer).filter(~priced)
        counts = Counter(split.counts) + Counter(refused[REASONS].to_list())
        bad = pl.concat([split.bad, refused.select(split.bad.columns)]).sort(ROW)
        split = Split(split.good.filter(priced), bad, dict(counts))
    table = answer.select(_NOTHING.columns).insert_column(0, rows).filter(priced).to_arrow()
    versions = pa.DictionaryArray.from_arrays(
        np.zeros(table.num_rows, dtype=np.int32), pa.array([version], pa.large_string())
    )
    return split, table.append_column("model_version", versions).cast(PREDICTIONS)


def _refused(file: str, good: pl.DataFrame, rows: pl.Series, answer: pl.DataFrame) -> pl.DataFrame:
    """All rows as they look in quarantine, should the model refuse what today's code takes."""
    nothing = pl.repeat(None, len(rows), dtype=pl.String, eager=True).alias(REASONS)
    reasons = answer[REASONS].cast(pl.String) if REASONS in answer.columns else nothing
    return good.select(pl.all().cast(pl.String)).with_columns(
        pl.lit(file).alias(FILE), rows, reasons.fill_null("the model gives no price")
    )


@contextmanager
def _replacing(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Writes a Parquet file under a hidden name, and gives it its name once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with ExitStack() as stack:
        stack.callback(partial.unlink, missing_ok=True)
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            yield writer
        partial.replace(path)

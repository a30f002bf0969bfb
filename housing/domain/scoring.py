"""Batch scoring: a file of houses in, a file of prices out, in memory that does not grow.

Rows are read, checked and turned into features just as in training. One core does a batch while the
next one is read, so every core is busy and only a few batches are in memory at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from housing.domain.config import Column, CsvParams, Frozen
from housing.domain.data.check import Tally, checked
from housing.domain.data.landing import open_delivery
from housing.domain.data.quality import describe
from housing.domain.data.schema import FILE, REASONS, ROW, RowSchema, Split
from housing.domain.features import Transform
from housing.domain.model import Model
from housing.errors import DataError, ModelError

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


@dataclass(frozen=True)
class ServedModel:
    """A model that can price houses.

    Attributes:
        run_id: Its MLflow run, which tells it from every other model.
        version: Its version in the registry.
        model: From features to dollars.
        transform: From columns to features.
        halfwidth: Half the width of the prediction interval, in dollars.
    """

    run_id: str
    version: str
    model: Model
    transform: Transform
    halfwidth: float

    @classmethod
    def read(cls, run_id: str, version: str, model: Path, transform: Path, report: Path) -> Self:
        """Reads a model from its files.

        Args:
            run_id: Its MLflow run.
            version: Its version in the registry.
            model: The model in XGBoost's own format.
            transform: ``transform.json``.
            report: ``evaluation_report.json``.

        Raises:
            DataError: The transform is missing or damaged.
            ModelError: The model or the report is missing or damaged.
        """
        try:
            content = json.loads(report.read_text(encoding="utf-8"))
            halfwidth = float(content["prediction_interval"]["halfwidth"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{report} has no prediction interval: {error!r}", "dvc repro evaluate_model"
            ) from error
        return cls(run_id, version, Model.load(model), Transform.load(transform), halfwidth)

    def price(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Prices houses.

        Args:
            rows: Typed rows with the columns of the transform.

        Returns:
            ``prediction``, ``lower``, ``upper`` (dollars, Float64), a row for each house.
        """
        dollars = self.model.predict(self.transform.apply(rows).to_numpy(order="c"))
        prediction = pl.Series("prediction", dollars, pl.Float64)
        return pl.DataFrame(
            {
                "prediction": prediction,
                "lower": prediction - self.halfwidth,
                "upper": prediction + self.halfwidth,
            }
        )

    def for_one_core(self) -> ServedModel:
        """A copy that one thread may use beside others: XGBoost's linear model allows no two."""
        booster = self.model.booster.copy()
        booster.set_param({"nthread": 1})
        return replace(self, model=replace(self.model, booster=booster))


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
    columns: Mapping[str, Column],
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
        model: Prices a batch.
        columns: The input columns, by name.
        watch: Told after each batch how many rows are done.
        csv: How CSV files are written.

    Raises:
        DataError: The file does not fit, cannot be read to its end, or changed while it was read.
    """
    start = time.monotonic()
    csv = csv or CsvParams()
    schema = RowSchema(columns, csv)
    delivery = open_delivery(source, schema.names, csv)
    content = digest(source)
    known = Scores.read(predictions)
    if known and (known.source, known.run_id) == (content, model.run_id):
        return known
    tally, sample = Tally(), _Sample(pl.DataFrame(schema=schema.dtypes))
    names = (FILE, ROW, REASONS, *schema.names)
    bad_rows = pa.schema({n: pa.int64() if n == ROW else pa.large_string() for n in names})
    with _replacing(predictions, PREDICTIONS) as good, _replacing(quarantine, bad_rows) as bad:
        for split, scored in _in_order(checked(delivery, schema), model):
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


def _in_order(splits: Iterator[Split], model: ServedModel) -> Iterator[tuple[Split, pa.Table]]:
    """Prices batches on all cores, and hands them on in their order."""
    cores = len(os.sched_getaffinity(0))
    own = threading.local()
    waiting: deque[tuple[Split, Future[pa.Table]]] = deque()
    first_row = 1

    def begin() -> None:
        own.model = model.for_one_core()

    def price(split: Split, first_row: int) -> pa.Table:
        return _price(own.model, split, first_row)

    with ThreadPoolExecutor(cores, "scoring", begin) as pool:
        for split in splits:
            waiting.append((split, pool.submit(price, split, first_row)))
            first_row += split.good.height + split.bad.height
            if len(waiting) > cores:
                done, scored = waiting.popleft()
                yield done, scored.result()
        for done, scored in waiting:
            yield done, scored.result()


def _price(model: ServedModel, split: Split, first_row: int) -> pa.Table:
    good = np.ones(split.good.height + split.bad.height, dtype=np.bool_)
    good[split.bad[ROW].to_numpy() - first_row] = False
    rows = pl.Series(ROW, np.flatnonzero(good) + first_row, pl.Int64)
    table = model.price(split.good).insert_column(0, rows).to_arrow()
    versions = pa.DictionaryArray.from_arrays(
        np.zeros(table.num_rows, dtype=np.int32), pa.array([model.version], pa.large_string())
    )
    return table.append_column("model_version", versions).cast(PREDICTIONS)


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

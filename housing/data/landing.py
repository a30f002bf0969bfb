"""The landing folder: which files it holds, and their rows in batches as they came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from housing.errors import DataError

SUFFIXES = (".csv", ".parquet")
PARTIAL = ".partial"
"""How names end that are not there yet: DVC and git do not see them either."""
_BLOCK_BYTES = 16 * 1024**2
_HEADER_BYTES = 1024**2
_BATCH_ROWS = 200_000
_BUFFER_BYTES = 1024**2


@dataclass(frozen=True)
class Landing:
    """What lies in the landing folder.

    Attributes:
        files: The deliveries, in the order of their names.
        ignored: Names of everything else: hidden files, other kinds of files, folders.
    """

    files: tuple[Path, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class DeliveryFile:
    """One CSV or Parquet file whose columns are known to fit.

    Attributes:
        path: The file.
        name: Its name in messages.
        columns: The file's own name of each column of the table: it may have blanks around it.
        extra: Columns of the file that the table does not have: they are left out.
    """

    path: Path
    name: str
    columns: dict[str, str]
    extra: tuple[str, ...]

    def batches(self) -> Iterator[pl.DataFrame]:
        """The rows in order, a batch at a time, so that a file may be larger than memory.

        Yields:
            Shape (rows, columns of the table): text from CSV, native types from Parquet.

        Raises:
            DataError: The file cannot be read to its end.
        """
        wanted = list(self.columns.values())
        read = _csv_batches if _is_csv(self.path) else _parquet_batches
        with _explained(self.name):
            for batch in read(self.path, wanted):
                frame = cast("pl.DataFrame", pl.from_arrow(batch))
                self._require_values(frame.schema)
                yield frame.select(pl.col(own).alias(name) for name, own in self.columns.items())

    def _require_values(self, schema: pl.Schema) -> None:
        for name, dtype in schema.items():
            if dtype.is_nested() or dtype in {pl.Binary, pl.Object}:
                raise DataError(
                    f"the column {name} of {self.name} holds {dtype}, not numbers or text",
                    "write it as a column of single values",
                )


def list_landing(folder: Path) -> Landing:
    """Lists the deliveries of a landing folder.

    Raises:
        DataError: There is no such folder, or no delivery in it.
    """
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    entries = [entry for entry in found if not entry.name.endswith(PARTIAL)]
    files = tuple(entry for entry in entries if can_be_delivered(entry))
    ignored = tuple(entry.name for entry in entries if not can_be_delivered(entry))
    if not files:
        beside = f" (found only {', '.join(ignored)})" if ignored else ""
        raise DataError(
            f"the landing folder {folder} holds no CSV or Parquet file{beside}",
            f"put a delivery there, or get the first one back: git checkout -- {folder}",
        )
    return Landing(files, ignored)


def can_be_delivered(path: Path) -> bool:
    """Whether the landing folder takes this for a delivery: a visible CSV or Parquet file."""
    visible = not path.name.startswith(".")
    return visible and path.suffix.lower() in SUFFIXES and path.is_file()


def open_delivery(path: Path, columns: Sequence[str], name: str = "") -> DeliveryFile:
    """Reads a file's header and fits it to the table's columns.

    Args:
        path: A CSV or Parquet file.
        columns: Names of the table's columns.
        name: The file's name in messages; the path by default.

    Raises:
        DataError: The file is empty or unreadable, or a column is missing or there twice.
    """
    name = name or str(path)
    with _explained(name):
        header = _csv_header(path) if _is_csv(path) else _parquet_header(path)
    times = Counter(own.strip() for own in header)
    missing = [column for column in columns if column not in times]
    if missing:
        raise DataError(
            f"{name} has no column {', '.join(missing)}; its columns are {', '.join(header)}",
            "mend the file's header, or data.columns in params.yaml",
        )
    twice = [column for column in columns if times[column] > 1]
    if twice:
        raise DataError(f"{name} has the column {', '.join(twice)} twice", "mend its header")
    own_names = {own.strip(): own for own in header}
    return DeliveryFile(
        path=path,
        name=name,
        columns={column: own_names[column] for column in columns},
        extra=tuple(own for own in header if own.strip() not in columns),
    )


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _csv_header(path: Path) -> list[str]:
    options = pa_csv.ReadOptions(use_threads=False, block_size=_HEADER_BYTES)
    with pa_csv.open_csv(path, read_options=options, parse_options=_csv_dialect()) as reader:
        return list(reader.schema.names)


def _csv_batches(path: Path, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Reads with Arrow: Polars fills up a row that is too short, in silence."""
    reader = pa_csv.open_csv(
        path,
        # With threads, a message would not tell the number of the row.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        parse_options=_csv_dialect(),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=wanted,
            strings_can_be_null=False,
        ),
    )
    with reader:
        yield from reader


def _csv_dialect() -> pa_csv.ParseOptions:
    return pa_csv.ParseOptions(newlines_in_values=True)


def _parquet_header(path: Path) -> list[str]:
    from pyarrow import parquet  # 0.1 s that a folder of CSV files does not need

    with parquet.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def _parquet_batches(path: Path, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet  # 0.1 s that a folder of CSV files does not need

    # By default pyarrow keeps all that it has read of a file until the file is closed.
    with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
        yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns what a reader says about a file into an error that names the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text: {error}", "save it as UTF-8") from error
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{name} cannot be read: {error}", "mend the file, or take it out of the folder"
        ) from error

"""The landing folder: which files it holds, and their rows in batches as they came."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow as pa

from housing.domain.columns import CsvParams
from housing.domain.data.csv_file import csv_batches, csv_header
from housing.domain.data.misfit import printable, require_columns, require_kind, unreadable
from housing.domain.data.unchanged import Stamp, require_unchanged, stamp
from housing.errors import DataError

SUFFIXES = (".csv", ".parquet")
PARTIAL = ".partial"
"""How names end that are not there yet: DVC and git do not see them either."""
POINTER = ".dvc"
"""How files end that name a delivery which DVC keeps elsewhere, and which lies beside them here."""
_BATCH_ROWS = 200_000
_BUFFER_BYTES = 1024**2


@dataclass(frozen=True)
class Landing:
    """What lies in the landing folder.

    Attributes:
        files: The deliveries, in the order of their names.
        ignored: Names of everything else: hidden files, other kinds of files, folders with a "/".
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
        csv: How CSV files are written.
        stamp: Which state of the file was opened.
    """

    path: Path
    name: str
    columns: dict[str, str]
    extra: tuple[str, ...]
    csv: CsvParams = field(repr=False)
    stamp: Stamp = field(repr=False)

    def batches(self) -> Iterator[pl.DataFrame]:
        """The rows in order, a batch at a time, so that a file may be larger than memory.

        Yields:
            Shape (rows, columns of the table): text from CSV, native types from Parquet.

        Raises:
            DataError: The file cannot be read to its end, or changed since it was opened.
        """
        wanted = list(self.columns.values())
        if _is_csv(self.path):
            found = csv_batches(self.path, wanted, self.csv, self.name)
        else:
            found = _parquet_batches(self.path, wanted)
        with _explained(self.name):
            for batch in found:
                frame = cast("pl.DataFrame", pl.from_arrow(batch))
                self._require_values(frame.schema)
                yield frame.select(pl.col(own).alias(name) for name, own in self.columns.items())
        require_unchanged(self.path, self.stamp, self.name)

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
        DataError: There is no such folder, no delivery in it, or something that cannot be read.
    """
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    entries = [entry for entry in found if not entry.name.endswith((PARTIAL, POINTER))]
    odd = [f"{printable(entry.name)} {what}" for entry in entries if (what := _oddity(entry))]
    if odd:
        raise DataError(
            f"the landing folder {folder} holds what nobody can read: {'; '.join(odd)}",
            "take it away, or give it another name",
        )
    files = tuple(entry for entry in entries if can_be_delivered(entry))
    ignored = tuple(
        entry.name + "/" * entry.is_dir() for entry in entries if not can_be_delivered(entry)
    )
    if not files:
        beside = f" (found only {', '.join(ignored)})" if ignored else ""
        raise DataError(
            f"the landing folder {folder} holds no CSV or Parquet file{beside}",
            f"put a delivery there, or get the first one back: git checkout -- {folder}",
        )
    return Landing(files, ignored)


def _oddity(entry: Path) -> str:
    """What is wrong with an entry that DVC could not hash either, or "" where nothing is."""
    if entry.name != os.fsencode(entry.name).decode(errors="replace"):
        return "has a name that is not UTF-8"
    if not entry.exists():
        return "is a link that leads nowhere"
    if not (entry.is_file() or entry.is_dir()):
        return "is neither a file nor a folder"
    return ""


def can_be_delivered(path: Path) -> bool:
    """Whether the landing folder takes this for a delivery: a visible CSV or Parquet file."""
    visible = not path.name.startswith(".")
    return visible and path.suffix.lower() in SUFFIXES and path.is_file()


def open_delivery(
    path: Path, columns: Sequence[str], csv: CsvParams, name: str = ""
) -> DeliveryFile:
    """Reads a file's header and fits it to the table's columns.

    Args:
        path: A CSV or Parquet file.
        columns: Names of the table's columns.
        csv: How CSV files are written.
        name: The file's name in messages; the path by default.

    Raises:
        DataError: The file is empty or unreadable, or a column is missing or there twice.
    """
    name = name or str(path)
    with _explained(name):
        opened = stamp(path)
        require_kind(path, csv, name)
        header = csv_header(path, csv) if _is_csv(path) else _parquet_header(path)
    require_columns(path, header, columns, csv, name)
    own_names = {own.strip(): own for own in header}
    return DeliveryFile(
        path=path,
        name=name,
        columns={column: own_names[column] for column in columns},
        extra=tuple(own for own in header if own.strip() not in columns),
        csv=csv,
        stamp=opened,
    )


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


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
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise unreadable(name, error) from error

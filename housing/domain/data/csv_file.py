"""A CSV file as Arrow reads it, its rows counted a second time from its bytes.

A quote that nobody closed makes one value of all the lines up to the next quote. No parser can
tell that from a value with line breaks, so values with line breaks are refused, and the number of
rows must be the number of lines.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from housing.domain.columns import CsvParams
from housing.errors import DataError

_BLOCK_BYTES = 16 * 1024**2
_HEADER_BYTES = 1024**2
_MOST_GROWTH = 3
"""Bytes of UTF-8 for one byte of another encoding, at most."""
_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"
_SHOWN = 60


class LineCounter:
    """A binary stream in UTF-8 that counts the lines which pass through it.

    A line ends with LF, CR or both, as for Arrow; lines without any character do not count.

    Args:
        stream: The bytes of the file, from its beginning.
        encoding: The file's encoding, by Python's name.

    Attributes:
        lines: Lines so far, the header among them.
    """

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self.lines = 0
        self._stream = stream
        self._after_break = True
        self._at_start = True
        is_utf8 = codecs.lookup(encoding).name == "utf-8"
        self._decoder = None if is_utf8 else codecs.getincrementaldecoder(encoding)()

    @property
    def closed(self) -> bool:
        """Whether the file is closed: Arrow asks."""
        return self._stream.closed

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes, as UTF-8 and without the byte order mark; none at the end.

        Raises:
            UnicodeDecodeError: A byte is not of the encoding.
        """
        block = self._stream.read(size) if self._decoder is None else self._decoded(size)
        if self._at_start:
            self._at_start = False
            block = block.removeprefix(codecs.BOM_UTF8)
        if block:
            self._count(block)
        return block

    def _decoded(self, size: int) -> bytes:
        assert self._decoder is not None  # noqa: S101 - read() asks first
        while raw := self._stream.read(max(1, size // _MOST_GROWTH)):
            if text := self._decoder.decode(raw):
                return text.encode()
        return self._decoder.decode(b"", final=True).encode()

    def _count(self, block: bytes) -> None:
        values = np.frombuffer(block, np.uint8)
        breaks = values == _LINE_FEED
        if b"\r" in block:
            breaks |= values == _CARRIAGE_RETURN
        # A line begins where a byte that is no line break follows one that is.
        self.lines += int(np.count_nonzero(breaks[:-1] > breaks[1:]))
        self.lines += int(self._after_break and not breaks[0])
        self._after_break = bool(breaks[-1])


def csv_header(path: Path, csv: CsvParams) -> list[str]:
    """Names of the columns of a CSV file, as they stand in its first line that is not blank."""
    with path.open("rb") as file:
        start = LineCounter(file, csv.encoding).read(_HEADER_BYTES).lstrip(b"\r\n")
    line = re.split(rb"[\r\n]", start, maxsplit=1)[0]
    # Memory of Arrow's own: one of its threads lets go of it, maybe as the process ends after a
    # refusal, and a thread that waits for Python then aborts the process.
    memory = pa.BufferOutputStream()
    memory.write(line and line + b"\n")
    content = pa.BufferReader(memory.getvalue())
    with pa_csv.open_csv(content, parse_options=_dialect(csv)) as reader:
        return list(reader.schema.names)


def csv_batches(
    path: Path, wanted: Sequence[str], csv: CsvParams, name: str
) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV file in order, as text: Polars fills up a short row in silence.

    Args:
        path: The file.
        wanted: The columns to read.
        csv: Its dialect.
        name: Its name in messages.

    Yields:
        Batches of some 16 MB of the file.

    Raises:
        DataError: A value goes on over the end of its line.
        pyarrow.ArrowException: The file cannot be read.
    """
    rows = 0
    with path.open("rb") as file:
        stream = LineCounter(file, csv.encoding)
        try:
            with pa_csv.open_csv(
                stream,
                # With threads, a message would not tell the number of the row.
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=_dialect(csv),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()),
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            ) as reader:
                for batch in reader:
                    rows += batch.num_rows
                    yield batch
        except pa.ArrowInvalid:
            # An open quote is behind most of what Arrow calls ragged, or too long for a block.
            _require_closed_quotes(path, csv, name)
            raise
    lost = stream.lines - 1 - rows
    if lost:
        _require_closed_quotes(path, csv, name, f", so that {lost:,} line(s) would be lost in it")
        raise DataError(
            f"{name} has {stream.lines - 1:,} lines under its header, but {rows:,} rows were read",
            "this is a fault of the program: report it with the file",
        )


def _require_closed_quotes(path: Path, csv: CsvParams, name: str, consequence: str = "") -> None:
    """Looks for the first line that ends inside of a quoted value.

    Raises:
        DataError: There is one; names it.
    """
    separator = re.escape(csv.separator)
    closed = re.compile(f'(^|{separator})"(?:[^"]|"")*"')
    opened = re.compile(f'(?:^|{separator})(".*)')
    with path.open(encoding=csv.encoding, errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if '"' not in line:
                continue
            text = line.removeprefix("\ufeff").removesuffix("\n")
            if found := opened.search(closed.sub(r"\1", text)):
                raise DataError(
                    f"{name} cannot be read: line {number} opens a quote that it does not close"
                    f"{consequence}: {found[1][:_SHOWN]}",
                    f"close the quote on line {number}, or take the line break out of the value",
                )


def _dialect(csv: CsvParams) -> pa_csv.ParseOptions:
    return pa_csv.ParseOptions(delimiter=csv.separator, newlines_in_values=True)

"""Why a file does not fit, in words that say how to mend it.

Deliveries come out of spreadsheets, other countries and half-finished programs. A cause that is
common is told by name; the file is never read in another way than `params.yaml` says.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from housing.domain.columns import CsvParams
from housing.errors import DataError, MissingColumnsError

_HEAD_BYTES = 64 * 1024
_SHOWN_COLUMNS, _SHOWN_SIGNS = 20, 200
_PARQUET = b"PAR1"
_KINDS = {
    b"\x1f\x8b": ("gzip", "unpack it first: gunzip"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet (.xlsx)", "save it as CSV, or unpack it first"),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet (.xls)", "save it as CSV"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unpack it first: unzstd"),
    b"BZh": ("bzip2", "unpack it first: bunzip2"),
    b"\xfd7zXZ": ("xz", "unpack it first: unxz"),
    b"SQLite format 3": ("a SQLite database", "write the table as CSV or Parquet"),
    b"%PDF": ("a PDF document", "write the table as CSV or Parquet"),
    _PARQUET: ("Parquet", "give it a name that ends in .parquet"),
}
_PAGE = re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE)
_PRINTED = re.compile(rb"b['\"]")
_SEPARATORS = (",", ";", "\t", "|")
_DECIMAL_COMMA = re.compile(r'"?[+-]?\d+,\d+"?')


def require_kind(path: Path, csv: CsvParams, name: str) -> None:
    """Makes sure that the file is of the kind that its name says.

    Args:
        path: The file.
        csv: How CSV files are written.
        name: Its name in messages.

    Raises:
        DataError: It begins like another kind of file.
        OSError: It cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    is_csv = path.suffix.lower() == ".csv"
    for magic, (kind, hint) in _KINDS.items():
        if head.startswith(magic) and (is_csv or magic != _PARQUET):
            raise DataError(
                f"{name} cannot be read: it is {kind}, not {'CSV' if is_csv else 'Parquet'}", hint
            )
    if not is_csv:
        if path.suffix.lower() != ".parquet":
            raise DataError(
                f"{name} cannot be read: by its name it is neither CSV nor Parquet",
                "give it a name that ends in .csv or .parquet, as what it is",
            )
        if head and not head.startswith(_PARQUET) and b"\0" not in head:
            raise DataError(
                f"{name} cannot be read: it is text, not Parquet",
                "give it a name that ends in .csv, if it is CSV",
            )
        return
    if _PAGE.match(head):
        raise DataError(
            f"{name} cannot be read: it is a web page or XML, not CSV",
            "fetch the file again: the server may have answered with a login page",
        )
    _require_text(head, csv, name)


def _require_text(head: bytes, csv: CsvParams, name: str) -> None:
    if codecs.lookup(csv.encoding).name.startswith(("utf-16", "utf-32")):
        return
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{name} cannot be read: it is UTF-16, not {csv.encoding}", _as("utf-16"))
    if b"\0" in head:
        raise DataError(
            f"{name} cannot be read: it holds zero bytes, so it is no {csv.encoding} text",
            "write it again as CSV in UTF-8",
        )
    if _PRINTED.match(head):
        raise DataError(
            f"{name} cannot be read: it begins with {head[:2].decode()}, as Python prints bytes",
            "write the bytes themselves to the file, or decode them first",
        )
    if head[:4].lower() == b"sep=":
        line = head.splitlines()[0]
        raise DataError(
            f"{name} cannot be read: its first line is {printable(line.decode(errors='replace'))}, "
            "which only spreadsheets understand",
            "take that line away",
        )


def require_columns(
    path: Path, header: Sequence[str], columns: Sequence[str], csv: CsvParams, name: str
) -> None:
    """Makes sure that a header holds every column of the table once.

    Args:
        path: The file.
        header: Its columns, as they are written.
        columns: The table's columns.
        csv: How CSV files are written.
        name: The file's name in messages.

    Raises:
        DataError: A column is there twice.
        MissingColumnsError: A column is missing.
    """
    times = Counter(own.strip() for own in header)
    missing = [column for column in columns if column not in times]
    if missing:
        dialect = path.suffix.lower() == ".csv" and _other_dialect(path, columns, csv)
        if dialect:
            raise DataError(
                f"{name} has other separators than {csv.separator!r}: it does not fit data.csv",
                f"save it with {csv.separator!r}, or, where every CSV file is like it, set in "
                f"params.yaml, below data: {dialect}",
            )
        raise MissingColumnsError(
            f"{name} has no column {', '.join(missing)}; its columns are {_listed(header)}",
            "mend the file's header, or data.columns in params.yaml",
        )
    twice = [column for column in columns if times[column] > 1]
    if twice:
        raise DataError(f"{name} has the column {', '.join(twice)} twice", "mend its header")


def _other_dialect(path: Path, columns: Sequence[str], csv: CsvParams) -> str:
    """The setting with which the header would hold every column, or "" where there is none."""
    with path.open("rb") as file:
        text = codecs.getincrementaldecoder(csv.encoding)("replace").decode(file.read(_HEAD_BYTES))
    first, *rows = text.removeprefix("\ufeff").splitlines() or [text]
    for separator in _SEPARATORS:
        names = {own.strip().strip('"') for own in first.split(separator)}
        if separator != csv.separator and names.issuperset(columns):
            values = (value.strip() for row in rows for value in row.split(separator))
            commas = separator != "," and any(map(_DECIMAL_COMMA.fullmatch, values))
            shown = separator.replace("\t", r"\t")
            decimal = ", decimal_comma: true" if commas else ""
            return f'csv: {{separator: "{shown}"{decimal}}}'
    return ""


def unreadable(name: str, error: Exception) -> DataError:
    """What a reader said about a file, as an error that names the file."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file {name}", "look at the path: ls")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{name} is a folder", "name one file in it")
    if isinstance(error, PermissionError):
        return DataError(f"{name} cannot be read: permission denied", f"chmod +r {name}")
    text = printable(str(error))
    if isinstance(error, UnicodeError):
        return DataError(f"{name} is not UTF-8 text: {text}", _as("cp1252"))
    if "invalid UTF8" in text:
        return DataError(f"{name} cannot be read: {text}", _as("cp1252"))
    return DataError(f"{name} cannot be read: {text}", "mend the file, or take it away")


def printable(text: str) -> str:
    """Text for a terminal: short, and signs that steer a terminal are written as codes."""
    cut = text if len(text) <= _SHOWN_SIGNS else text[:_SHOWN_SIGNS] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def _listed(header: Sequence[str]) -> str:
    more = f" and {len(header) - _SHOWN_COLUMNS} more" if len(header) > _SHOWN_COLUMNS else ""
    return ", ".join(map(printable, header[:_SHOWN_COLUMNS])) + more


def _as(encoding: str) -> str:
    return (
        "save it as UTF-8, or, where every CSV file is like it, set in params.yaml, below data: "
        f"csv: {{encoding: {encoding}}}"
    )

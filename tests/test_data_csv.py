from __future__ import annotations

import codecs
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from housing.domain.columns import Column, CsvParams
from housing.domain.data import csv_file
from housing.domain.data.landing import open_delivery
from housing.domain.data.schema import RowSchema
from housing.errors import DataError

LINES = b"a,note,b\n" + b"1,x,2\n" * 98 + b'3,"5 rooms,4\n' + b"5,y,6\n" * 500


def read(path: Path, csv: CsvParams, columns: tuple[str, ...] = ("a", "b")) -> list[str]:
    batches = open_delivery(path, columns, csv).batches()
    return [value for batch in batches for row in batch.rows() for value in row]


def written(folder: Path, content: bytes, name: str = "d.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("columns", [("a",), ("a", "note", "b")])
def test_an_open_quote_loses_no_row_in_silence(
    tmp_path: Path, end: bytes, columns: tuple[str, ...]
) -> None:
    path = written(tmp_path, LINES.replace(b"\n", end))
    with pytest.raises(
        DataError, match=r'd\.csv cannot be read: line 100 .*: "5 rooms,4'
    ) as caught:
        read(path, CsvParams(), columns)
    assert "line 100" in caught.value.hint


def test_a_quote_that_is_closed_later_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, LINES + b'7,y",8\n9,"it ""is"" one, line",10\n')
    with pytest.raises(DataError, match=r"line 100 .*501 line\(s\) would be lost"):
        read(path, CsvParams())


def test_a_value_longer_than_a_block_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 1024)
    with pytest.raises(DataError, match="line 100 opens a quote"):
        read(written(tmp_path, LINES * 5), CsvParams())


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, bytes, CsvParams]:
    """Rows, the bytes of a file that holds them, and its dialect."""
    row = st.sampled_from(["1,2", '"1","2"', '1,"a ""b"""', "1, ", '1,x"y'])
    rows = draw(st.lists(row, min_size=1))
    end = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\n\r\n"])
    text = "".join(line + draw(end) for line in ["a,b", *rows])
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    encoding = draw(st.sampled_from(["utf-8", "utf-16", "cp1252"]))
    if encoding == "utf-8":
        text = draw(st.sampled_from(["", "\ufeff", "\n", "\ufeff\r\n"])) + text
    return len(rows), text.encode(encoding), CsvParams(encoding=encoding)


@given(table=tables(), block=st.sampled_from([100, 128, 1024**2]))
def test_every_way_to_end_a_line_counts_alike(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[int, bytes, CsvParams], block: int
) -> None:
    rows, content, csv = table
    path = written(tmp_path_factory.getbasetemp(), content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "_BLOCK_BYTES", block)
        assert len(read(path, csv)) == 2 * rows


@pytest.mark.parametrize(
    ("name", "content", "fact", "hint"),
    [
        ("d.csv", b"\x1f\x8b\x08\x00", "it is gzip, not CSV", "gunzip"),
        ("d.csv", b"PK\x03\x04\x14\x00", r"a spreadsheet \(.xlsx\), not CSV", "save it as CSV"),
        ("d.csv", b"PAR1\x15\x04", "it is Parquet, not CSV", "ends in .parquet"),
        ("d.parquet", b"a,b\n1,2\n", "it is text, not Parquet", "ends in .csv"),
        (
            "d.md",
            b"# a,b\n",
            "by its name it is neither CSV nor Parquet",
            "ends in .csv or .parquet",
        ),
        ("d.parquet", b"\x1f\x8b\x08\x00", "it is gzip, not Parquet", "gunzip"),
        ("d.csv", b"<!DOCTYPE html>\n", "a web page or XML", "login page"),
        ("d.csv", b"b'a,b\\n1,2\\n'", "begins with b', as Python prints bytes", "bytes themselves"),
        ("d.csv", b"sep=;\na;b\n1;2\n", "first line is sep=;", "take that line away"),
        ("d.csv", "a,b\n1,2\n".encode("utf-16"), "it is UTF-16", r"csv: {encoding: utf-16}"),
        ("d.csv", "a,b\n1,2\n".encode("utf-16-le"), "zero bytes", "CSV in UTF-8"),
        ("d.csv", b"a;b\n1;2\n", "other separators than ','", r'csv: {separator: ";"}'),
        (
            "d.csv",
            b'"a";"b"\n1,5;2,5\n',
            "other separators",
            r'csv: {separator: ";", decimal_comma: true}',
        ),
        ("d.csv", b"a\tb\n1\t2\n", "other separators", r'csv: {separator: "\\t"}'),
        ("d.csv", b"a,b\n1,caf\xe9\n", "invalid UTF8", "csv: {encoding: cp1252}"),
        ("d.csv", b"\x1b[2J,c\n1,2\n", r"its columns are \\x1b\[2J, c", "data.columns"),
    ],
)
def test_the_cause_is_named(
    tmp_path: Path, name: str, content: bytes, fact: str, hint: str
) -> None:
    with pytest.raises(DataError, match=fact) as caught:
        read(written(tmp_path, content, name), CsvParams())
    assert re.search(hint, caught.value.hint)
    assert str(caught.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("suffix", ["csv", "parquet", "md"])
def test_a_file_that_is_not_there_is_said_so(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match=r"there is no file .*nope\.") as caught:
        read(tmp_path / f"nope.{suffix}", CsvParams())
    assert "look at the path" in caught.value.hint
    (tmp_path / f"folder.{suffix}").mkdir()
    with pytest.raises(DataError, match=r"folder\.\w+ is a folder"):
        read(tmp_path / f"folder.{suffix}", CsvParams())


def test_a_dialect_is_a_setting(tmp_path: Path) -> None:
    columns = {
        "size": Column(type="float", min=0),
        "rooms": Column(type="int"),
        "street": Column(type="string", nullable=True),
    }
    csv = CsvParams(separator=";", decimal_comma=True, encoding="cp1252", nulls=("NA", "-"))
    text = "size;rooms;street\n1,5;3;Café 1,5\n80;4;-\n1.500;3;x\nNA;3;x\n"
    path = written(tmp_path, text.encode("cp1252"))
    (batch,) = open_delivery(path, tuple(columns), csv).batches()
    split = RowSchema(columns, csv).split(batch)
    assert split.good.rows() == [(1.5, 3, "Café 1,5"), (80.0, 4, None)]
    assert split.bad.select("size", "reasons").rows() == [
        ("1.500", "size: not a number"),
        ("NA", "size: missing"),
    ]


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n" + b"1,2\n" * 1000)
    batches = open_delivery(path, ["a", "b"], CsvParams()).batches()
    with path.open("ab") as file:
        file.write(b"3,4\n")
    with pytest.raises(DataError, match=r"changed while it was read: 4,004 bytes before, 4,008"):
        list(batches)


def test_a_file_that_goes_while_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n" + b"1,2\n" * 1000)
    batches = open_delivery(path, ["a", "b"], CsvParams()).batches()
    next(batches)
    path.unlink()
    with pytest.raises(DataError, match="was taken away while it was read"):
        list(batches)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Empty CSV file"):
        read(written(tmp_path, codecs.BOM_UTF8), CsvParams())

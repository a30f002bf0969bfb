from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from housing.domain.columns import CsvParams
from housing.domain.data.landing import list_landing, open_delivery
from housing.errors import DataError

ROWS = [("1", "x"), ("2", "y")]


def rows(path: Path) -> list[tuple[object, ...]]:
    delivery = open_delivery(path, ["a", "b"], CsvParams())
    return [row for batch in delivery.batches() for row in batch.rows()]


def written(folder: Path, content: bytes, name: str = "d.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_deliveries_are_sorted_and_everything_else_is_named(tmp_path: Path) -> None:
    for name in ("b.csv", "a.parquet", "C.CSV", ".hidden.csv", "notes.txt", "a.csv.gz"):
        (tmp_path / name).touch()
    (tmp_path / "folder.csv").mkdir()
    landing = list_landing(tmp_path)
    assert [path.name for path in landing.files] == ["C.CSV", "a.parquet", "b.csv"]
    assert landing.ignored == (".hidden.csv", "a.csv.gz", "folder.csv/", "notes.txt")


def test_what_nobody_can_read_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "link.csv").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).touch()
    with pytest.raises(DataError) as caught:
        list_landing(tmp_path)
    for fault in (
        "link.csv is a link that leads nowhere",
        "pipe.csv is neither a file nor a folder",
        r"\udcff.csv has a name that is not UTF-8",
    ):
        assert fault in caught.value.fact


def test_an_empty_landing_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    with pytest.raises(DataError, match=r"holds no CSV or Parquet file \(found only .gitkeep\)"):
        list_landing(tmp_path)
    with pytest.raises(DataError, match="holds no CSV or Parquet file"):
        list_landing(tmp_path / "none")


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n2,y\n",
        b"a,b\r\n1,x\r\n2,y",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b'\xef\xbb\xbf"a", b \n"1",x\n2,"y"\n\n',
        b"b,extra,a\nx,,1\ny,9,2\n",
        b"b,extra,extra,a\nx,,,1\ny,9,,2\n",
    ],
    ids=["plain", "crlf", "bom", "quoted and blank", "reordered", "extra twice"],
)
def test_csv_dialects(tmp_path: Path, content: bytes) -> None:
    assert rows(written(tmp_path, content)) == ROWS


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pl.DataFrame({"more": [0, 0], "b": ["x", "y"], "a": [1.5, None]}).write_parquet(
        tmp_path / "d.parquet"
    )
    assert rows(tmp_path / "d.parquet") == [(1.5, "x"), (None, "y")]


def test_extra_columns_are_reported(tmp_path: Path) -> None:
    delivery = open_delivery(written(tmp_path, b"a,b,c,d\n1,2,3,4\n"), ["a", "c"], CsvParams())
    assert delivery.extra == ("b", "d")


def test_a_file_larger_than_a_block_comes_in_batches(tmp_path: Path) -> None:
    line = b"%d," + b"x" * 1000 + b"\n"
    path = written(tmp_path, b"a,b\n" + b"".join(line % number for number in range(40_000)))
    batches = list(open_delivery(path, ["a", "b"], CsvParams()).batches())
    assert len(batches) > 1
    assert pl.concat(batches)["a"].to_list() == [str(number) for number in range(40_000)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read: Empty CSV file"),
        (b"a,c\n1,2\n", "d.csv has no column b; its columns are a, c"),
        (b"a;b\n1;2\n", "d.csv has other separators than ','"),
        (b"a,b,a \n1,2,3\n", "has the column a twice"),
        (b"a,b\n1,2\n3\n", "Row #3: Expected 2 columns, got 1: 3"),
        (b"a,b\n1,2\n3,4,5\n", "Row #3: Expected 2 columns, got 3: 3,4,5"),
        (b"a,b\n1,2\n3,4\n5,\xff\n", "Row #4: .*invalid UTF8 data"),
        (b"a,b\xff\n1,2\n", "is not UTF-8 text"),
        ("a,b\n1,2\n".encode("utf-16"), "it is UTF-16, not utf-8"),
        (b'a,b\n1,2\n"3,4\n', 'line 3 opens a quote that it does not close: "3,4'),
    ],
    ids=[
        "empty",
        "column missing",
        "semicolons",
        "column twice",
        "short row",
        "long row",
        "undecodable",
        "undecodable header",
        "utf-16",
        "unclosed quote",
    ],
)
def test_a_csv_that_does_not_fit(tmp_path: Path, content: bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        rows(path)
    assert str(path) in caught.value.fact
    assert caught.value.hint


def test_a_ragged_row_far_down_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n" + b"1,2\n" * 5_000_000 + b"1\n")
    batches = open_delivery(path, ["a", "b"], CsvParams()).batches()
    assert next(batches).height > 0
    with pytest.raises(DataError, match="Row #5000002: Expected 2 columns, got 1"):
        list(batches)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all" * 10])
def test_a_broken_parquet_file(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content, "d.parquet")
    with pytest.raises(DataError, match=r"d\.parquet cannot be read"):
        rows(path)


def test_a_cut_off_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pl.DataFrame({"a": range(10_000), "b": range(10_000)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"d\.parquet cannot be read"):
        rows(path)


def test_a_parquet_column_of_lists(tmp_path: Path) -> None:
    pl.DataFrame({"a": [[1]], "b": [2]}).write_parquet(tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"the column a of .*d\.parquet holds List\(Int64\)"):
        rows(tmp_path / "d.parquet")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none\.csv"):
        open_delivery(tmp_path / "none.csv", ["a"], CsvParams())

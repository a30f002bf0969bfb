from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from housing.domain.config import Params, parse_params
from housing.domain.data.ingest import Outputs, check_accounts, distinct, ingest
from housing.errors import DataError

ROOT = Path(__file__).parents[1]
COLUMNS = {
    "rooms": {"type": "int", "min": 1, "max": 50},
    "area": {"type": "float", "min": 10, "nullable": True},
    "kind": {"type": "string", "categories": ["flat", "house"]},
    "street": {"type": "string", "nullable": True},
    "rent": {"type": "float", "role": "target", "min": 1, "scale": 12},
}
HEADER = "rooms,area,kind,street,rent\n"
GOOD = "3,80.5,flat,Main,1000\n"
OTHER = "4,,house,,1500.55\n"
BAD = "0,80,castle,Main,1000\n"


def content(landing: Path, limit: float = 0.5) -> dict[str, Any]:
    """A params file for a table of rents: no location, categories, missing values."""
    loaded: dict[str, Any] = yaml.safe_load(
        (ROOT / "tests/params.yaml").read_text(encoding="utf-8")
    )
    loaded["data"] = {"landing": str(landing), "columns": COLUMNS, "identity": ["street", "rooms"]}
    loaded["features"] = {}
    loaded["ingest"] = {"max_bad_fraction": limit}
    return loaded


@dataclass(frozen=True)
class Table:
    """A project folder with deliveries, and what ingesting makes of them."""

    root: Path

    @property
    def outputs(self) -> Outputs:
        return Outputs(
            table=self.root / "out" / "houses.parquet",
            quarantine=self.root / "out" / "quarantine.parquet",
            report=self.root / "reports" / "quality.json",
            rejected=self.root / ".housing" / "rejected.csv",
        )

    def params(self, limit: float = 0.5) -> Params:
        return parse_params(content(self.root / "landing", limit))

    def deliver(self, name: str, *lines: str) -> None:
        path = self.root / "landing" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEADER + "".join(lines), encoding="utf-8")

    def ingest(self, limit: float = 0.5) -> dict[str, Any]:
        ingest(self.params(limit), self.outputs)
        report: dict[str, Any] = json.loads(self.outputs.report.read_text(encoding="utf-8"))
        return report

    def kept(self) -> pl.DataFrame:
        return pl.read_parquet(self.outputs.table)

    def written(self) -> dict[str, bytes]:
        outs = (self.outputs.table, self.outputs.quarantine, self.outputs.report)
        return {path.name: path.read_bytes() for path in outs if path.exists()}


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def test_another_table_of_houses(table: Table) -> None:
    table.deliver("a.csv", GOOD, BAD, OTHER)
    table.ingest()
    assert table.kept().to_dicts() == [
        {"rooms": 3, "area": 80.5, "kind": "flat", "street": "Main", "rent": 12_000.0},
        {"rooms": 4, "area": None, "kind": "house", "street": None, "rent": 18_006.6},
    ]
    assert table.kept().schema == {
        "rooms": pl.Int64,
        "area": pl.Float64,
        "kind": pl.String,
        "street": pl.String,
        "rent": pl.Float64,
    }


def test_bad_rows_are_kept_as_they_came(table: Table) -> None:
    table.deliver("a.csv", GOOD, BAD)
    table.deliver("b.csv", "x, 80 ,flat,,1\n", OTHER)
    table.ingest()
    bad = pl.read_parquet(table.outputs.quarantine)
    two_reasons = "rooms: below 1; kind: none of flat, house"
    assert bad.rows() == [
        ("a.csv", 2, two_reasons, "0", "80", "castle", "Main", "1000"),
        ("b.csv", 1, "rooms: not a whole number", "x", " 80 ", "flat", "", "1"),
    ]
    assert bad.columns == ["file", "row", "reasons", *COLUMNS]


def test_the_quarantine_has_its_columns_without_rows(table: Table) -> None:
    table.deliver("a.csv", GOOD)
    table.ingest()
    bad = pl.read_parquet(table.outputs.quarantine)
    assert bad.height == 0
    assert bad.schema == {
        "file": pl.String,
        "row": pl.Int64,
        "reasons": pl.String,
        **dict.fromkeys(COLUMNS, pl.String),
    }


def test_the_report_accounts_for_every_row(table: Table) -> None:
    table.deliver("a.csv", GOOD, GOOD, BAD, OTHER)
    table.deliver("b.csv", OTHER)
    table.deliver("notes.txt")
    report = table.ingest()
    described = {name: file.pop("columns") for name, file in report["files"].items()}
    assert report["files"] == {
        "a.csv": {"rows": 4, "bytes": 112, "extra_columns": []},
        "b.csv": {"rows": 1, "bytes": 46, "extra_columns": []},
    }
    assert described["a.csv"]["kind"]["categories"] == {"flat": 2, "house": 1}
    assert described["b.csv"]["kind"]["categories"] == {"house": 1}
    assert report["ignored_files"] == ["notes.txt"]
    counts = {key: report[key] for key in report if key.startswith("rows_")}
    assert counts == {"rows_in": 5, "rows_kept": 2, "rows_quarantined": 1, "rows_duplicate": 2}
    assert report["bad_fraction"] == 0.2
    assert report["reasons"] == {"kind: none of flat, house": 1, "rooms: below 1": 1}


def test_the_report_describes_the_kept_rows(table: Table) -> None:
    table.deliver("a.csv", *(f"{n},{n * 10},flat,,{n}\n" for n in range(1, 12)), OTHER, BAD)
    columns = table.ingest()["columns"]
    assert columns["area"] == {
        "nulls": 1,
        "min": 10,
        "max": 110,
        "mean": 60,
        "std": 33.1662479036,
        "quantiles": [20, 30, 40, 50, 60, 70, 80, 90, 100],
    }
    assert columns["kind"] == {"nulls": 0, "distinct": 2, "categories": {"flat": 11, "house": 1}}
    assert columns["street"] == {"nulls": 12, "distinct": 0, "categories": {}}
    assert columns["rent"]["max"] == 18_006.6


def test_equal_rows_of_csv_and_parquet_are_duplicates(table: Table) -> None:
    table.deliver("a.csv", GOOD, " 3.0 ,8.05e1, flat,Main,1000.00\n")
    pl.DataFrame(
        {"rent": [1000], "street": ["Main"], "kind": ["flat"], "area": [80.5], "rooms": [3.0]}
    ).with_columns(pl.col("kind").cast(pl.Categorical)).write_parquet(
        table.root / "landing" / "b.parquet"
    )
    report = table.ingest()
    assert (report["rows_kept"], report["rows_duplicate"]) == (1, 2)


def test_single_precision_makes_no_other_house(table: Table) -> None:
    rows = "".join(f"{rooms},8{rooms}.1,flat,,{rooms}000.37\n" for rooms in range(1, 10))
    table.deliver("a.csv", rows)
    single = pl.read_csv(table.root / "landing" / "a.csv").with_columns(
        pl.col("area", "rent").cast(pl.Float32)
    )
    single.write_parquet(table.root / "landing" / "b.parquet")
    report = table.ingest()
    assert (report["rows_kept"], report["rows_duplicate"]) == (9, 9)


def test_of_equal_rows_the_first_one_stays() -> None:
    values = [0.0, -0.0, math.nan, -math.nan, None, 1.0, None]
    texts = ["x", "x", "y", "y", None, "x", "x"]
    rows = pl.DataFrame({"a": values, "b": texts})
    expected = rows.unique(keep="first", maintain_order=True)
    assert expected.height == 5
    for tables in ([rows], [rows[:0], rows[:3], rows[3:]], [rows, rows]):
        assert_frame_equal(distinct(tables), expected)


def test_rows_that_only_share_a_hash_all_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(table: pl.DataFrame) -> pl.Series:
        return pl.Series([0] * table.height, dtype=pl.UInt64)

    monkeypatch.setattr(pl.DataFrame, "hash_rows", same)
    rows = pl.DataFrame({"a": [1.0, 2.0, 1.0], "b": ["x", "x", "x"]})
    assert_frame_equal(distinct([rows[:1], rows[1:]]), rows[:2])


def test_extra_columns_are_left_out_and_reported(table: Table) -> None:
    (table.root / "landing").mkdir()
    (table.root / "landing" / "a.csv").write_text("id,rent,rooms,area,kind,street\n7,1,1,,flat,\n")
    report = table.ingest()
    assert report["files"]["a.csv"]["extra_columns"] == ["id"]
    assert table.kept().columns == list(COLUMNS)


def test_a_delivery_without_rows_is_let_by(table: Table) -> None:
    table.deliver("a.csv", GOOD)
    table.deliver("b.csv")
    assert table.ingest()["files"]["b.csv"]["rows"] == 0


@pytest.mark.parametrize(
    ("lines", "message"), [([], "hold a header and no row"), ([BAD], "1 of 1 rows are bad")]
)
def test_a_table_without_rows_is_an_error(table: Table, lines: list[str], message: str) -> None:
    table.deliver("a.csv", *lines)
    with pytest.raises(DataError, match=message):
        table.ingest(limit=0.999)
    assert table.written() == {}


def test_too_many_bad_rows_leave_the_last_outputs(table: Table) -> None:
    table.deliver("a.csv", GOOD)
    table.ingest()
    before = table.written()
    table.deliver("b.csv", BAD, BAD, OTHER)
    with pytest.raises(DataError) as caught:
        table.ingest(limit=0.49)
    assert table.written() == before
    assert "2 of 4 rows are bad (50.00%), more than ingest.max_bad_fraction (49.00%)" in str(caught)
    assert "kind: none of flat, house: 2 row(s)" in caught.value.fact
    assert "b.csv, row 1: rooms: below 1; kind: none of flat, house" in caught.value.fact
    assert str(table.outputs.rejected) in caught.value.hint
    rejected = pl.read_csv(table.outputs.rejected)
    assert rejected["row"].to_list() == [1, 2]
    assert table.ingest(limit=0.5)["rows_quarantined"] == 2
    assert not table.outputs.rejected.exists()


def test_a_broken_file_leaves_the_last_outputs(table: Table) -> None:
    table.deliver("a.csv", GOOD)
    table.ingest()
    before = table.written()
    table.deliver("b.csv", OTHER, "1,2\n")
    with pytest.raises(DataError, match=r"b\.csv cannot be read"):
        table.ingest()
    assert table.written() == before


def test_a_failing_write_leaves_the_last_outputs(table: Table) -> None:
    table.deliver("a.csv", GOOD)
    table.ingest()
    before = table.written()
    table.deliver("b.csv", OTHER)
    (table.outputs.report.parent / ".quality.json.partial").mkdir()
    with pytest.raises(OSError, match=r"quality\.json\.partial"):
        table.ingest()
    assert table.written() == before


def test_accounts_that_do_not_add_up_are_an_error() -> None:
    check_accounts(6, 3, 2, 1)
    with pytest.raises(DataError, match="7 rows were read, but 3 kept, 2 quarantined and 1"):
        check_accounts(7, 3, 2, 1)


LINES = st.lists(st.sampled_from([GOOD, OTHER, BAD, "1,11,flat,A,1\n", "2,22,house,,2\n"]))


def ingested(deliveries: dict[str, list[str]]) -> tuple[dict[str, Any], set[tuple[Any, ...]]]:
    """Report and kept rows of deliveries that hold at least one good row."""
    with TemporaryDirectory() as folder:
        table = Table(Path(folder))
        for name, lines in deliveries.items():
            table.deliver(name, *lines)
        report = table.ingest(limit=0.999)
        return report, set(table.kept().rows())


@settings(max_examples=25, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=3))
def test_no_row_is_lost(files: list[list[str]]) -> None:
    files[0].append(GOOD)
    report, kept = ingested({f"{index}.csv": lines for index, lines in enumerate(files)})
    lines = [line for file in files for line in file]
    assert report["rows_in"] == len(lines)
    assert report["rows_quarantined"] == lines.count(BAD)
    assert report["rows_kept"] == len(kept) == len(set(lines) - {BAD})
    assert report["rows_in"] == sum(
        report[f"rows_{k}"] for k in ("kept", "quarantined", "duplicate")
    )


@settings(max_examples=15, deadline=None)
@given(LINES, LINES)
def test_the_order_of_the_files_does_not_matter_to_the_rows(one: list[str], two: list[str]) -> None:
    one.append(OTHER)
    assert ingested({"a.csv": one, "b.csv": two})[1] == ingested({"a.csv": two, "b.csv": one})[1]


@settings(max_examples=15, deadline=None)
@given(LINES)
def test_a_delivery_that_comes_twice_changes_no_row(lines: list[str]) -> None:
    lines.append(GOOD)
    once, kept = ingested({"a.csv": lines})
    twice, kept_again = ingested({"a.csv": lines, "z.csv": lines})
    assert kept_again == kept
    assert twice["columns"] == once["columns"]
    assert twice["rows_kept"] == once["rows_kept"]

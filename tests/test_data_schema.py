from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from housing.domain.columns import Column
from housing.domain.data.schema import RowSchema

FLOAT = Column(type="float", min=0, max=20)
INT = Column(type="int", min=1)
NULLABLE = Column(type="float", nullable=True)
OCEAN = Column(type="string", categories=("near bay", "inland"))
STREET = Column(type="string", nullable=True)
PAVED = Column(type="bool", nullable=True)
SOLD = Column.model_validate(
    {"type": "date", "nullable": True, "min": dt.date(2000, 1, 1), "nulls": ["1900-01-01"]}
)
AMERICAN = Column(type="date", format="%m/%d/%Y")
CODED = Column(type="int", nullable=True, nulls=("-1", "NA"))
DAY = dt.date(2014, 10, 13)
TARGET = Column.model_validate({"type": "float", "role": "target", "scale": 100_000})
WHOLE_TARGET = Column.model_validate({"type": "int", "role": "target"})


def only(column: Column, values: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Good values and bad rows' reasons of a table of one column named x."""
    split = RowSchema({"x": column}).split(pl.DataFrame({"x": values}))
    return split.good["x"].to_list(), split.bad["reasons"].to_list()


@pytest.mark.parametrize(
    ("column", "raw", "typed"),
    [
        (FLOAT, "8.3252", 8.3252),
        (FLOAT, " 1e1\t", 10.0),
        (FLOAT, 3, 3.0),
        (FLOAT, "20", 20.0),
        (INT, "3", 3),
        (INT, "3.0", 3),
        (INT, " +3. ", 3),
        (INT, 3.0, 3),
        (INT, "9007199254740993", 9007199254740993),
        (NULLABLE, "", None),
        (NULLABLE, "  ", None),
        (NULLABLE, None, None),
        (NULLABLE, "NaN", None),
        (NULLABLE, float("nan"), None),
        (NULLABLE, "-5", -5.0),
        (OCEAN, " inland ", "inland"),
        (STREET, "", None),
        (STREET, "NaN Street", "NaN Street"),
        (STREET, 94110, "94110"),
        (STREET, 94110.0, "94110"),
        (STREET, float("nan"), None),
        (STREET, "94110.0", "94110.0"),
        (PAVED, "TRUE", True),
        (PAVED, " no ", False),
        (PAVED, 1, True),
        (PAVED, 0.0, False),
        (PAVED, False, False),
        (PAVED, "", None),
        (PAVED, float("nan"), None),
        (SOLD, "2014-10-13", DAY),
        (SOLD, "2014-10-13T23:59:59Z", DAY),
        (SOLD, "20141013T000000", DAY),
        (SOLD, 20141013, DAY),
        (SOLD, DAY, DAY),
        (SOLD, dt.datetime(2014, 10, 13, 23), DAY),  # noqa: DTZ001 - a table's times have no zone
        (SOLD, "1900-01-01", None),
        (SOLD, dt.date(1900, 1, 1), None),
        (SOLD, " ", None),
        (AMERICAN, "10/13/2014", DAY),
        (AMERICAN, DAY, DAY),
        (CODED, "NA", None),
        (CODED, "-1.0", None),
        (CODED, -1, None),
        (CODED, -1.0, None),
        (CODED, 1, 1),
        (Column(type="float", nullable=True, nulls=("-1",)), -1.0, None),
        (TARGET, "4.526", 452_600.0),
        (WHOLE_TARGET, "452600", 452_600.0),
    ],
)
def test_a_good_value_gets_its_type(column: Column, raw: object, typed: object) -> None:
    assert only(column, [raw]) == ([typed], [])


@pytest.mark.parametrize(
    ("column", "raw", "reason"),
    [
        (FLOAT, "20.5", "x: above 20"),
        (FLOAT, "-0.1", "x: below 0"),
        (FLOAT, "", "x: missing"),
        (FLOAT, "nan", "x: missing"),
        (FLOAT, float("nan"), "x: missing"),
        (FLOAT, "1,5", "x: not a number"),
        (FLOAT, "NA", "x: not a number"),
        (FLOAT, True, "x: not a number"),
        (FLOAT, dt.date(2020, 1, 1), "x: not a number"),
        (NULLABLE, "-inf", "x: not finite"),
        (NULLABLE, float("inf"), "x: not finite"),
        (INT, "3.5", "x: not a whole number"),
        (INT, 3.5, "x: not a whole number"),
        (INT, 1e300, "x: not a whole number"),
        (INT, "9223372036854775808", "x: not a whole number"),
        (INT, "0", "x: below 1"),
        (OCEAN, "island", "x: none of near bay, inland"),
        (OCEAN, " ", "x: missing"),
        (STREET, "Main\nElm", "x: more than one line"),
        (PAVED, "gravel", "x: neither true nor false"),
        (PAVED, 2, "x: neither true nor false"),
        (SOLD, "13.10.2014", "x: not a date"),
        (SOLD, "2014-02-30", "x: not a date"),
        (SOLD, "1999-12-31", "x: before 2000-01-01"),
        (Column.model_validate({"type": "date", "max": DAY}), "20141014", "x: after 2014-10-13"),
        (AMERICAN, "2014-10-13", "x: not a date"),
        (AMERICAN, "", "x: missing"),
        (CODED, "none", "x: not a whole number"),
    ],
)
def test_a_bad_value_is_told_why(column: Column, raw: object, reason: str) -> None:
    assert only(column, [raw]) == ([], [reason])


def test_large_limits_are_written_out() -> None:
    assert only(Column(type="float", max=1_234_567.5), ["2e6"])[1] == ["x: above 1234567.5"]


def test_long_lists_of_categories_are_cut_short() -> None:
    column = Column(type="string", categories=tuple("abcdefgh"))
    assert only(column, ["z"])[1] == ["x: none of a, b, c, d, e, …"]


def test_all_reasons_of_a_row_are_given() -> None:
    schema = RowSchema({"a|b": FLOAT, "the kind": OCEAN})
    split = schema.split(pl.DataFrame({"a|b": ["99"], "the kind": [""]}))
    assert split.bad["reasons"].to_list() == ["a|b: above 20; the kind: missing"]
    assert split.counts == {"a|b: above 20": 1, "the kind: missing": 1}


def test_bad_rows_keep_raw_values_and_their_number() -> None:
    raw = pl.DataFrame({"x": [" 1 ", "many ", "2", None, "21"]})
    split = RowSchema({"x": FLOAT}).split(raw, first_row=101)
    assert split.good["x"].to_list() == [1.0, 2.0]
    assert split.bad.to_dict(as_series=False) == {
        "x": ["many ", None, "21"],
        "row": [102, 104, 105],
        "reasons": ["x: not a number", "x: missing", "x: above 20"],
    }


def test_types_are_known_without_rows() -> None:
    schema = RowSchema(
        {"f": FLOAT, "i": INT, "s": STREET, "b": PAVED, "d": SOLD, "t": WHOLE_TARGET}
    )
    empty = pl.DataFrame(schema=dict.fromkeys(schema.names, pl.String))
    assert schema.split(empty).good.schema == schema.dtypes
    types = [pl.Float64, pl.Int64, pl.String, pl.Boolean, pl.Date, pl.Float64]
    assert list(schema.dtypes.values()) == types


@given(st.lists(st.one_of(st.none(), st.text(), st.floats().map(repr), st.integers().map(str))))
def test_every_row_is_good_or_bad(values: list[str | None]) -> None:
    raw = pl.DataFrame(
        {"x": values, "n": range(len(values))}, schema={"x": pl.String, "n": pl.Int64}
    )
    for column in (FLOAT, NULLABLE, INT, OCEAN, STREET, PAVED, SOLD, AMERICAN, CODED):
        split = RowSchema({"x": column, "n": Column(type="int")}).split(raw)
        good, bad = split.good["n"].to_list(), (split.bad["row"] - 1).to_list()
        assert sorted(good + bad) == list(range(len(values)))
        assert split.bad["x"].to_list() == [values[index] for index in bad]
        assert all(split.bad["reasons"].to_list())


@given(st.lists(st.floats(0, 20, allow_nan=False)))
def test_numbers_survive_text_to_the_last_bit(values: list[float]) -> None:
    assert only(FLOAT, [repr(value) for value in values]) == (values, [])

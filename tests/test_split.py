from __future__ import annotations

import datetime as dt
import math
import os
import subprocess
import sys

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from housing.domain.config import SplitParams
from housing.domain.split import row_ids, sides, sides_by_time
from housing.errors import DataError

SHARES = SplitParams(validation=0.16, test=0.20)
COORDINATES = st.tuples(
    st.floats(-90, 90, allow_nan=False), st.floats(-180, 180, allow_nan=False), st.text(max_size=3)
)


def table(rows: list[tuple[float, float, str]]) -> pl.DataFrame:
    schema = {"lat": pl.Float64, "lon": pl.Float64, "name": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def ids(rows: list[tuple[float, float, str]]) -> pl.Series:
    return row_ids(table(rows), ("lat", "lon", "name"))


def many(count: int) -> pl.Series:
    return row_ids(pl.DataFrame({"id": range(count)}), ("id",))


def test_the_hash_of_a_row_never_changes() -> None:
    # Golden values: another hash would put the rows of a deployed project on other sides.
    rows = [(37.88, -122.23, "Bay"), (0.1 + 0.2, -0.0, "café\N{GRINNING FACE}")]
    assert ids(rows).to_list() == ["523133733e2c7ba4", "b0acdddb0566aefc"]
    assert sides(many(12), 7, SHARES).to_list() == [
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "test",
        "validation",
        "train",
        "train",
        "train",
        "train",
    ]


def test_missing_values_and_whole_numbers_have_a_hash() -> None:
    frame = pl.DataFrame({"a": [1, None], "b": [math.nan, None]})
    assert row_ids(frame, ("a", "b")).n_unique() == 2


def test_zero_has_one_hash() -> None:
    assert ids([(0.0, 0.0, "")]).to_list() == ids([(-0.0, 0.0, "")]).to_list()


@given(st.lists(COORDINATES, min_size=1, max_size=20, unique=True))
def test_a_hash_does_not_hang_on_other_rows(
    rows: list[tuple[float, float, str]],
) -> None:
    alone = [ids([row])[0] for row in rows]
    assert ids(rows).to_list() == alone
    assert ids(rows[::-1]).to_list() == alone[::-1]


@given(st.integers(100, 400), st.integers(1, 300), st.integers(0, 2**70))
def test_a_row_keeps_its_side_when_rows_are_added(before: int, added: int, seed: int) -> None:
    old = sides(many(before), seed, SHARES)
    new = sides(many(before + added), seed, SHARES)
    assert new.head(before).to_list() == old.to_list()


def test_rows_of_one_identity_share_a_side() -> None:
    frame = pl.DataFrame({"block": [i // 5 for i in range(1000)], "value": range(1000)})
    frame = frame.with_columns(side=sides(row_ids(frame, ("block",)), 7, SHARES))
    assert frame.group_by("block").agg(pl.col("side").n_unique())["side"].max() == 1


def test_the_shares_come_out_as_asked() -> None:
    side = sides(many(50_000), 3, SHARES)
    for name, share in (("test", 0.20), ("validation", 0.16), ("train", 0.64)):
        # Five standard deviations of a binomial share.
        assert (side == name).mean() == pytest.approx(share, abs=0.011)


def test_seeds_give_independent_splits() -> None:
    first, second = (sides(many(20_000), seed, SHARES) == "test" for seed in (1, 2))
    assert (first & second).mean() == pytest.approx(0.04, abs=0.007)


def test_a_larger_validation_share_takes_training_rows_only() -> None:
    rows = many(2_000)
    small, large = (sides(rows, 7, SplitParams(validation=v, test=0.2)) for v in (0.1, 0.3))
    assert ((small == "test") == (large == "test")).all()
    assert set(large.filter(small == "validation")) == {"validation"}


def test_a_side_without_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="no row of 1 falls on the side"):
        sides(many(1), 7, SHARES)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.dates(dt.date(2014, 5, 1), dt.date(2014, 8, 31))),
        min_size=12,
        max_size=60,
    ),
    st.floats(0.05, 0.3),
)
def test_by_time_no_model_learns_from_what_it_is_tested_on(
    sales: list[tuple[int, dt.date]], share: float
) -> None:
    frame = pl.DataFrame(sales, schema={"house": pl.Int64, "sold": pl.Date}, orient="row")
    shares = SplitParams(validation=share, test=share)
    try:
        split = sides_by_time(row_ids(frame, ("house",)), frame["sold"], shares)
    except DataError as error:
        assert "falls on the side" in error.fact  # too many sales on one day  # noqa: PT017
        return
    frame = frame.with_columns(split.side)
    assert frame.group_by("house").agg(pl.col("side").n_unique())["side"].max() == 1
    newest = dict(frame.group_by("side").agg(pl.max("sold")).iter_rows())
    assert newest["train"] < split.starts["validation"] <= newest["validation"]
    assert newest["validation"] < split.starts["test"] <= newest["test"]
    assert (split.side == "test").sum() >= round(share * len(sales))


def test_by_time_a_house_that_is_sold_again_is_held_out_with_both_sales() -> None:
    sold = [*(dt.date(2014, 1, day) for day in range(1, 11)), dt.date(2014, 1, 11)]
    frame = pl.DataFrame({"house": [*range(10), 0], "sold": sold})
    shares = SplitParams(validation=0.2, test=0.2)
    split = sides_by_time(row_ids(frame, ("house",)), frame["sold"], shares)
    assert split.side.to_list() == ["test", *["train"] * 7, *["validation"] * 2, "test"]
    assert split.moved == 1
    assert split.starts == {"test": dt.date(2014, 1, 11), "validation": dt.date(2014, 1, 9)}


def test_by_time_rows_of_one_year_share_a_side() -> None:
    years = pl.Series([2006] * 30 + [2007] * 30 + [2008] * 30 + [2009] * 10)
    split = sides_by_time(many(100), years, SplitParams(validation=0.1, test=0.1))
    assert split.side.to_list() == ["train"] * 60 + ["validation"] * 30 + ["test"] * 10
    with pytest.raises(DataError, match="no row of 100 falls on the side train"):
        sides_by_time(many(100), pl.Series([2006] * 100), SHARES)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_puts_rows_on_the_same_side(hash_seed: str) -> None:
    code = (
        "import polars as pl; from housing.domain.split import row_ids;"
        "print(*row_ids(pl.DataFrame({'id': ['a', 'ü', None]}), ('id',)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = row_ids(pl.DataFrame({"id": ["a", "ü", None]}), ("id",))
    assert done.stdout.split() == here.to_list()

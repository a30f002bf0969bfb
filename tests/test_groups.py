from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from housing.domain.groups import CELL_DEGREES, MIN_GROUPS, effective, group


def places(width: float, rows: int = 2000) -> pl.DataFrame:
    """Rows spread evenly over a square of some degrees."""
    spread = np.random.default_rng(1).random((rows, 2)) * width
    return pl.DataFrame(
        {
            "_row": [f"{number:016x}" for number in range(rows)],
            "latitude": 37.0 + spread[:, 0],
            "longitude": -122.0 + spread[:, 1],
        }
    )


@pytest.mark.parametrize(
    ("width", "degrees"),
    [
        (4.0, CELL_DEGREES),
        (1.0, CELL_DEGREES),
        (0.25, 0.05),
        (0.1, 0.0125),
        (0.001, CELL_DEGREES / 2**9),
    ],
)
def test_the_size_of_the_groups_follows_the_data(width: float, degrees: float) -> None:
    found = group(places(width))
    assert found.enough
    assert found.degrees == degrees
    assert found.count == len(np.unique(found.codes))


@pytest.mark.parametrize("width", [4.0, 0.1])
def test_rows_at_one_place_share_a_group(width: float) -> None:
    rows = places(width, 100)
    both = group(pl.concat([rows, rows.with_columns(_row=pl.lit("f" * 16))]))
    assert both.codes[:100].tolist() == both.codes[100:].tolist()


def test_groups_are_counted_by_their_sizes() -> None:
    assert effective(np.repeat(np.arange(30), 5)) == pytest.approx(30)
    lopsided = np.concatenate([np.zeros(970, int), np.arange(1, 31)])
    assert effective(lopsided) < 1.1
    assert effective(np.array([], int)) == 0


def test_a_place_and_a_few_houses_elsewhere_are_not_enough() -> None:
    rows = places(4.0, 1000).with_columns(
        latitude=pl.when(pl.int_range(pl.len()) < 970).then(37.77).otherwise(pl.col("latitude")),
        longitude=pl.when(pl.int_range(pl.len()) < 970).then(-122.41).otherwise(-121.0),
    )
    found = group(rows)
    assert found.count > MIN_GROUPS
    assert not found.enough


def test_without_a_location_the_identity_groups() -> None:
    rows = pl.DataFrame({"_row": ["b", "a", "b", "c"] * 10})
    found = group(rows)
    assert found.codes.tolist() == [1, 0, 1, 2] * 10
    assert (found.count, found.degrees, found.enough) == (3, None, False)


def test_a_row_without_a_location_is_grouped_by_its_identity() -> None:
    rows = places(4.0, 50).with_columns(
        latitude=pl.when(pl.int_range(pl.len()) < 30).then(None).otherwise(pl.col("latitude"))
    )
    assert len(set(group(rows).codes[:30].tolist())) == 30


def test_a_number_on_an_edge_falls_into_its_square() -> None:
    rows = places(4.0, 3).with_columns(
        latitude=pl.Series([37.3, 37.35, 37.2]), longitude=pl.lit(-122.0)
    )
    many = pl.concat([rows, places(4.0)])
    first, second, third = group(many).codes[:3]
    assert first == second != third

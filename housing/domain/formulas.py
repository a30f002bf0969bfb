"""The formulas of the features, which look at one row at a time.

Instead of dividing by a number the Polars expressions multiply with its inverse: Polars does so
itself, but not in a table of one row, which would then have other bits. `standardised` does the
same in NumPy, to the bits that Polars would give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from housing.domain.columns import Frozen
from housing.domain.config import Coordinates
from housing.domain.config_rules import DATE_FEATURES

EARTH_RADIUS = 6371.0088
"""Mean radius of the Earth in km (Moritz 2000, Geodetic Reference System 1980)."""
DAYS_PER_YEAR = 365.2425
"""Mean length of a year of the Gregorian calendar, in days."""
_DIRECTION = ("_x", "_y", "_z")
"""Names of the columns of `direction`; no column of a table may begin with an underscore."""


class Scale(Frozen):
    """How one numeric feature is standardised: (value - mean) / scale."""

    mean: float
    scale: float


class MeanPrices(Frozen):
    """What houses cost by their text in one column, in dollars.

    Attributes:
        overall: Mean price of all training rows: that of a text that is not known, and of none.
        known: Mean price for each text, drawn towards the overall one where its rows are few.
    """

    overall: float
    known: dict[str, float]


def direction(latitude: pl.Expr, longitude: pl.Expr) -> dict[str, pl.Expr]:
    """The unit vector from the Earth's centre to a place, as `distance` takes it.

    Args:
        latitude: Degrees north.
        longitude: Degrees east.
    """
    north, east = latitude.radians(), longitude.radians()
    x, y, z = _DIRECTION
    return {x: north.cos() * east.cos(), y: north.cos() * east.sin(), z: north.sin()}


def distance(place: Coordinates) -> pl.Expr:
    """Great-circle distance to a place in km, of rows that have a `direction`.

    The angle between the two directions, by their dot product: exact on a sphere, and right to
    20 cm for near points. It takes half of the steps of the haversine formula.

    Args:
        place: Latitude and longitude of the place, in degrees.
    """
    north, east = (math.radians(angle) for angle in place)
    x, y, z = (pl.col(name) for name in _DIRECTION)
    dot = x * (math.cos(north) * math.cos(east)) + y * (math.cos(north) * math.sin(east))
    # Rounding lifts the value above 1 for a house at the place itself.
    return EARTH_RADIUS * (dot + z * math.sin(north)).clip(-1, 1).arccos()


def years(date: str) -> pl.Expr:
    """A date as a number of years, such as 2014.41: what a column of years can be taken from."""
    return 1970 + pl.col(date).cast(pl.Int32).cast(pl.Float64) * (1 / DAYS_PER_YEAR)


def of_date(date: str) -> list[tuple[str, pl.Expr]]:
    """The features of a date: its year and its month."""
    parts = (pl.col(date).dt.year(), pl.col(date).dt.month())
    return [
        (f"{date}_{name}", part.cast(pl.Float64))
        for name, part in zip(DATE_FEATURES, parts, strict=True)
    ]


def rotated(latitude: pl.Expr, longitude: pl.Expr, degrees: float) -> list[tuple[str, pl.Expr]]:
    """The two axes of a map turned by some degrees: trees cut along axes, coasts run aslant."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        (f"rotated_{degrees:g}_x", longitude * cos + latitude * sin),
        (f"rotated_{degrees:g}_y", latitude * cos - longitude * sin),
    ]


def mean_price(text: str, prices: MeanPrices) -> pl.Expr:
    """What houses with the same text in this column cost on average, in dollars."""
    return pl.col(text).replace_strict(
        prices.known, default=prices.overall, return_dtype=pl.Float64
    )


def standardised(numbers: NDArray[np.float64], scales: Sequence[Scale]) -> NDArray[np.float32]:
    """Numbers as (value - mean) / scale in Float32, NaN where there is none.

    A null, a division by zero and an overflow are all "no number", which models take as NaN.

    Args:
        numbers: Shape (rows, features), NaN for null.
        scales: Of each feature.
    """
    means = np.array([scale.mean for scale in scales])
    inverse = np.array([1 / scale.scale for scale in scales])
    with np.errstate(over="ignore", invalid="ignore"):
        features: NDArray[np.float32] = ((numbers - means) * inverse).astype(np.float32)
    features[~np.isfinite(features)] = np.nan
    return features

"""How many prices the prediction interval holds: of all rows, of like prices, around each place.

An interval can be right on the whole and wrong everywhere: too wide for cheap houses, too narrow
for dear ones. So deciles of the predicted price, which is known before the true one, and regions
are counted as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from housing.domain.config import Coordinates

DECILES = 10

Mask: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many prices the interval holds in a part of the rows.

    Attributes:
        name: The part, for people.
        rows: Rows in it.
        inside: Rows of it whose price lies in the interval.
    """

    name: str
    rows: int
    inside: int

    @property
    def share(self) -> float:
        """Share of the prices that the interval holds, 0 to 1."""
        return self.inside / self.rows


def coverages(predictions: pl.DataFrame, places: Mapping[str, Coordinates]) -> list[Coverage]:
    """Counts the prices in the interval: of all rows, of each decile, around each place.

    Args:
        predictions: `actual`, `predicted`, `lower` and `upper` in dollars, and the location where
            there is one; at least one row.
        places: Latitude and longitude of each region's centre, in degrees, by its name.
    """
    between = pl.col("actual").is_between(pl.col("lower"), pl.col("upper"))
    inside = predictions.select(between.fill_null(value=False)).to_series().to_numpy()
    rank = pl.col("predicted").rank("ordinal") - 1
    decile = predictions.select(rank * DECILES // pl.len()).to_series().to_numpy()
    parts = {"all": np.ones(predictions.height, dtype=np.bool_)}
    parts |= {f"predicted decile {n + 1}": decile == n for n in range(DECILES)}
    parts |= {f"region {name}": mask for name, mask in regions(predictions, places).items()}
    return [
        Coverage(name, int(mask.sum()), int(inside[mask].sum()))
        for name, mask in parts.items()
        if mask.any()
    ]


def regions(rows: pl.DataFrame, places: Mapping[str, Coordinates]) -> dict[str, Mask]:
    """The rows around each place: a row belongs to the nearest, one without location to none.

    Args:
        rows: `latitude` and `longitude` in degrees, where the table has a location.
        places: Latitude and longitude of each place, in degrees, by its name.
    """
    if not places or "latitude" not in rows.columns:
        return {}
    here = _on_sphere(rows.select("latitude", "longitude").cast(pl.Float64).to_numpy())
    centres = _on_sphere(np.array([*places.values()], dtype=np.float64))
    # The shorter the straight line between two points of a sphere, the shorter the way.
    apart = ((here[:, None, :] - centres) ** 2).sum(axis=2)
    nearest = np.where(np.isfinite(apart).all(axis=1), apart.argmin(axis=1), -1)
    return {name: nearest == number for number, name in enumerate(places)}


def _on_sphere(degrees: Numbers) -> Numbers:
    """Points on the unit sphere, shape (rows, 3), by latitude and longitude."""
    north, east = np.radians(degrees).T
    return np.column_stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)]
    )

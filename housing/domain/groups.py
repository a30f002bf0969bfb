"""Which rows belong together in a bootstrap: whoever lives near has correlated errors.

Resampling single rows would make an interval too narrow, so whole groups of neighbours are
resampled (blocks against spatial correlation: Roberts et al. 2017, Ecography 40:913). The report's
intervals and the gate's bounds use these groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from housing.domain.tables import ROW

CELL_DEGREES = 0.1
"""Side of a square of the map at most, in degrees."""
HALVINGS = 10
"""How often the side is halved at most: 0.1 degrees are 11 km, the smallest square is 11 m."""
MIN_GROUPS = 20
"""Groups, by their effective number, below which nothing is said for sure: 20 to 50 is where
cluster methods begin to be right (Cameron and Miller 2015, "A Practitioner's Guide to
Cluster-Robust Inference", Journal of Human Resources 50:317, section VI)."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of some rows.

    Attributes:
        codes: Number of the group of each row, from 0, shape (rows,).
        degrees: Side of a group's square, or None where rows are grouped by their identity.
    """

    codes: NDArray[np.intp]
    degrees: float | None

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.codes.max()) + 1 if self.codes.size else 0

    @property
    def enough(self) -> bool:
        """Whether there are enough groups for an interval."""
        return effective(self.codes) >= MIN_GROUPS


def effective(codes: NDArray[np.intp]) -> float:
    """Number of groups of equal size that say as much: one with most of the rows counts for little.

    The square of the sum of the sizes by the sum of their squares (Kish 1965, "Survey Sampling",
    section 11.7).

    Args:
        codes: The group of each row, shape (rows,).
    """
    sizes = np.bincount(codes).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if codes.size else 0.0


def group(rows: pl.DataFrame) -> Groups:
    """Groups rows by squares of the map.

    The squares are as large as they can be with enough of them: 0.1 degrees for a country, less for
    a city. Where even the smallest are too few, `Groups.enough` says so.

    Args:
        rows: `_row`, and `latitude` and `longitude` in degrees, where the table has a location. A
            row without one is grouped by its identity.
    """
    if "latitude" not in rows.columns:
        return Groups(_codes(rows, pl.col(ROW)), None)
    found = Groups(_squares(rows, CELL_DEGREES), CELL_DEGREES)
    for halving in range(1, HALVINGS + 1):
        if found.enough:
            break
        degrees = CELL_DEGREES / 2**halving
        found = Groups(_squares(rows, degrees), degrees)
    return found


def _squares(rows: pl.DataFrame, degrees: float) -> NDArray[np.intp]:
    axes = ("latitude", "longitude")
    # Rounded first: 37.3 / 0.1 must not fall into the cell of 37.2.
    squares = [(pl.col(axis) / degrees).round(6).floor() for axis in axes]
    lost = pl.any_horizontal(pl.col(*axes).is_null())
    return _codes(
        rows,
        pl.struct(
            *(pl.when(~lost).then(square) for square in squares),
            pl.when(lost).then(pl.col(ROW)).alias(ROW),
        ),
    )


def _codes(rows: pl.DataFrame, key: pl.Expr) -> NDArray[np.intp]:
    """Numbers the values of a key from 0, in their order."""
    return (rows.select(key.rank("dense")).to_series().to_numpy() - 1).astype(np.intp)

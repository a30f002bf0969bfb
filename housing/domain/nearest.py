"""The nearest rows to a point, and statistics of their prices.

Every row is looked at alone, and no sum is made by a library that rounds by the kind of processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial import KDTree

Floats: TypeAlias = NDArray[np.float64]
Features: TypeAlias = NDArray[np.float32]

SOFTENING: Final = 0.1
"""Added to each distance before it is inverted, so that a row at distance 0 has a finite weight. In
km on the map, in weighted standard deviations with attributes."""
RIDGE: Final = 0.3
"""Holds the slope of the price along a column down: variances of the column in the training rows
that are added to its variance among the neighbours (chosen by validation)."""
LEAF: Final = 32
"""Points that are compared one by one at the end of a search: the fastest for 8 dimensions."""


@dataclass(frozen=True)
class Found:
    """The nearest rows to some points, the nearest first.

    Attributes:
        away: Their distances, shape (points, count).
        index: Their numbers, shape (points, count).
    """

    away: Floats
    index: NDArray[np.intp]


@dataclass(frozen=True)
class Own:
    """Which training rows a row must not see.

    Attributes:
        codes: Identity of each row that asks.
        of_rows: Identity of each training row that can be found.
    """

    codes: NDArray[np.intp]
    of_rows: NDArray[np.intp]


@dataclass(frozen=True)
class Column:
    """A column that the price may go with.

    Attributes:
        here: Its values in the rows that ask, shape (points,).
        around: Its values in their neighbours, shape (points, count).
        spread: Its standard deviation among the training rows.
    """

    here: Floats
    around: Floats
    spread: float


def tree_of(points: Floats) -> KDTree:
    """Arranges points for the search.

    Args:
        points: Shape (points, dimensions).
    """
    from scipy.spatial import KDTree

    return KDTree(points, leafsize=LEAF)  # type: ignore[no-untyped-call]  # scipy publishes no types


def nearest(tree: KDTree, points: Floats, count: int, own: Own | None = None) -> Found:
    """Finds the nearest rows.

    Args:
        tree: What `tree_of` made of the training rows.
        points: Whose neighbours are wanted, shape (points, dimensions).
        count: How many are wanted; as many as that can be found.
        own: Which rows a point must not find; None where it may find all.
    """
    if own is None:
        away, index = tree.query(  # type: ignore[no-untyped-call]  # as above
            points, range(1, count + 1)
        )
        return Found(away, index)
    away = np.empty((len(points), count))
    index = np.empty((len(points), count), dtype=np.intp)
    sizes = np.bincount(own.of_rows, minlength=int(own.codes.max()) + 1)[own.codes]
    # As many more are looked up as there are rows that must not be seen.
    for size in np.unique(sizes):
        some = np.flatnonzero(sizes == size)
        far, found = tree.query(  # type: ignore[no-untyped-call]  # as above
            points[some], range(1, count + int(size) + 1)
        )
        mine = own.of_rows[found] == own.codes[some][:, None]
        others = np.argsort(mine, axis=1, kind="stable")[:, :count]
        away[some] = np.take_along_axis(far, others, axis=1)
        index[some] = np.take_along_axis(found, others, axis=1)
    return Found(away, index)


def statistic_names(per: str | None) -> tuple[str, ...]:
    """Names of what `statistics` gives for one count.

    Args:
        per: Name of the column that the price may go with, or None.
    """
    own = () if per is None else (f"per_{per}", f"by_{per}", f"along_{per}")
    return ("mean", "std", "median", "reach", *own)


def statistics(
    away: Floats, prices: Floats, per: Column | None, counts: tuple[int, ...]
) -> Iterator[Floats]:
    """Describes the prices of the nearest rows.

    ``mean`` is weighted by inverse distance, ``reach`` is the distance of the last row. With a
    column, ``per`` is the mean price by the mean of the column, ``by`` is that times the row's own
    value, and ``along`` is the price that a straight line through the neighbours gives for it.

    Args:
        away: Distances, the smallest first, shape (rows, neighbours).
        prices: Of the neighbours, in dollars, shape (rows, neighbours).
        per: A column that the price may go with.
        counts: Of how many neighbours each is made.

    Yields:
        For each count the statistics of `statistic_names`, shape (rows,).
    """
    every = 1 / (away + SOFTENING)
    for count in counts:
        weights, some = every[:, :count], prices[:, :count]
        total = weights.sum(axis=1)
        mean = (weights * some).sum(axis=1) / total
        yield mean
        yield _spread(some)
        yield _median(some)
        yield away[:, count - 1]
        if per is not None:
            around = per.around[:, :count]
            level = (weights * around).sum(axis=1) / total
            ratio = mean / np.where(level > 0, level, np.nan)
            yield ratio
            yield ratio * per.here
            offsets = around - level[:, None]
            pull = weights * offsets
            # A ridge, so that neighbours that are all alike give no slope.
            held = (pull * offsets).sum(axis=1) + RIDGE * total * per.spread**2
            yield mean + (pull * some).sum(axis=1) / held * (per.here - level)


# NumPy's own functions for the next two take most of the time that one row takes.


def _spread(prices: Floats) -> Floats:
    """Standard deviation of each row."""
    count = prices.shape[1]
    apart = prices - prices.sum(axis=1, keepdims=True) / count
    spread: Floats = np.sqrt((apart * apart).sum(axis=1) / count)
    return spread


def _median(prices: Floats) -> Floats:
    """Median of each row."""
    count, ordered = prices.shape[1], np.sort(prices, axis=1)
    return (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2


def surroundings(
    away: Floats, around: Floats, here: Floats, counts: tuple[int, ...]
) -> Iterator[Floats]:
    """Compares columns of a row with those of the nearest rows.

    Args:
        away: Distances, the smallest first, shape (rows, neighbours).
        around: The columns in the neighbours, shape (columns, rows, neighbours).
        here: The columns in the rows themselves, shape (columns, rows).
        counts: Of how many neighbours each mean is made.

    Yields:
        For each column and count the mean weighted by inverse distance, and how far the row is
        above it; each of shape (rows,).
    """
    every = 1 / (away + SOFTENING)
    means = []
    for count in counts:
        weights = every[:, :count]
        means.append((weights * around[:, :, :count]).sum(axis=2) / weights.sum(axis=1))
    for column, own in enumerate(here):
        for mean in means:
            yield mean[column]
            yield own - mean[column]

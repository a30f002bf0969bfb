"""The nearest rows to a point, and statistics of their prices.

Every row is looked at alone, and no sum is made by a library that rounds by the kind of processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial import KDTree

Floats: TypeAlias = NDArray[np.float64]
Features: TypeAlias = NDArray[np.float32]
Number = TypeVar("Number", Floats, Features)

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
        hidden: How many training rows that can be found have it.
        of_rows: Identity of each training row that can be found.
    """

    codes: NDArray[np.intp]
    hidden: NDArray[np.intp]
    of_rows: NDArray[np.intp]

    def of(self, some: NDArray[np.intp]) -> Own:
        """The same for some of the rows that ask."""
        return Own(self.codes[some], self.hidden[some], self.of_rows)


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


def nearest(
    tree: KDTree, points: Floats, count: int, own: Own | None = None, slack: float = 0.0
) -> Found:
    """Finds the nearest rows.

    Args:
        tree: What `tree_of` made of the training rows.
        points: Whose neighbours are wanted, shape (points, dimensions).
        count: How many are wanted; as many as that can be found.
        own: Which rows a point must not find; None where it may find all.
        slack: How much farther than the nearest rows those that are found may be, as a share of
            their distance: the more, the faster.
    """
    if own is None:
        away, index = tree.query(  # type: ignore[no-untyped-call]  # as above
            points, range(1, count + 1), slack
        )
        return Found(away, index)
    away = np.empty((len(points), count))
    index = np.empty((len(points), count), dtype=np.intp)
    # As many more are looked up as there are rows that must not be seen.
    for size in np.unique(own.hidden):
        some = np.flatnonzero(own.hidden == size)
        far, found = tree.query(  # type: ignore[no-untyped-call]  # as above
            points[some], range(1, count + int(size) + 1), slack
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


def statistics(away: Floats, prices: Floats, per: Column | None, counts: tuple[int, ...]) -> Floats:
    """Describes the prices of the nearest rows.

    ``mean`` is weighted by inverse distance, ``reach`` is the distance of the last row. With a
    column, ``per`` is the mean price by the mean of the column, ``by`` is that times the row's own
    value, and ``along`` is the price that a straight line through the neighbours gives for it.

    Args:
        away: Distances, the smallest first, shape (rows, neighbours), at least two rows.
        prices: Of the neighbours, in dollars, shape (rows, neighbours).
        per: A column that the price may go with.
        counts: Of how many neighbours each is made, the fewest first.

    Returns:
        The statistics of `statistic_names` for each count, shape (counts * statistics, rows).
    """
    size = np.array(counts)[:, None]
    medians = np.array([_median(prices[:, :count]) for count in counts])
    reach = away.T[size[:, 0] - 1]
    # Neighbour by neighbour in one array: a sum goes along the memory, and there is only one.
    terms = np.empty((prices.shape[1], 4 if per is None else 7, len(away)))
    weights, price, square, weighted = (terms[:, number] for number in range(4))
    np.divide(1, away.T + SOFTENING, out=weights)
    price[:] = prices.T
    np.multiply(price, price, out=square)
    np.multiply(weights, price, out=weighted)
    if per is not None:
        around = per.around.T
        pull = np.multiply(weights, around, out=terms[:, 4])
        np.multiply(pull, around, out=terms[:, 5])
        np.multiply(pull, price, out=terms[:, 6])
    total, plain, squares, weighted, *pulled = _sums(terms, counts).swapaxes(0, 1)
    mean = weighted / total
    # Whole dollars and their squares add up without any rounding.
    variance = np.maximum(size * squares - plain**2, 0)
    made = [mean, np.sqrt(variance) / size, medians, reach]
    if per is not None:
        pulls, squared, priced = pulled
        level = pulls / total
        ratio = mean / np.where(level > 0, level, np.nan)
        # A ridge, so that neighbours that are all alike give no slope.
        held = squared - pulls * level + RIDGE * total * per.spread**2
        slope = (priced - weighted * level) / held
        made += [ratio, ratio * per.here, mean + slope * (per.here - level)]
    return np.stack(made, axis=1).reshape(-1, len(away))


def surroundings(
    away: Floats, around: Features, here: Features, counts: tuple[int, ...]
) -> Features:
    """Compares columns of a row with those of the nearest rows.

    Args:
        away: Distances, the smallest first, shape (rows, neighbours), at least two rows.
        around: The columns in the neighbours, shape (neighbours, rows, columns).
        here: The columns in the rows themselves, shape (rows, columns).
        counts: Of how many neighbours each mean is made, the fewest first.

    Returns:
        For each column and count the mean weighted by inverse distance, and how far the row is
        above it, shape (columns * counts * 2, rows).
    """
    weights = np.ascontiguousarray(1 / (away.T + SOFTENING), dtype=np.float32)
    mean = _sums(around * weights[:, :, None], counts) / _sums(weights, counts)[:, :, None]
    return np.stack([mean, here - mean], axis=1).transpose(3, 0, 1, 2).reshape(-1, len(here))


def _sums(values: Number, counts: tuple[int, ...]) -> Number:
    """Sums over the first neighbours.

    Args:
        values: Shape (neighbours, ..., rows), at least two rows: NumPy adds a lone one up in
            another order than many.
        counts: Over how many, the fewest first.

    Returns:
        Shape (counts, ..., rows).
    """
    flat = values.reshape(len(values), -1)
    sums = np.empty((len(counts), flat.shape[1]), values.dtype)
    for number, (start, stop) in enumerate(pairwise((0, *counts))):
        np.add.reduce(flat[start:stop], axis=0, out=sums[number])
        if number:
            sums[number] += sums[number - 1]
    return sums.reshape(len(counts), *values.shape[1:])


def _median(prices: Floats) -> Floats:
    """Median of each row; NumPy's own takes most of the time that one row takes."""
    count, ordered = prices.shape[1], np.sort(prices, axis=1)
    return (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2

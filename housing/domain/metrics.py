"""How good predictions are: point metrics, bootstrap intervals, and split conformal intervals.

Prices, errors and interval widths are in dollars, ``mape`` is in per cent, ``r2_score`` has no
unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from housing.domain.config import EvaluateParams
from housing.errors import DataError

Numbers: TypeAlias = NDArray[np.float64]
Metric = Literal["rmse", "mae", "r2_score", "mape"]
METRICS: tuple[Metric, ...] = get_args(Metric)


@dataclass(frozen=True)
class Interval:
    """Bounds of a confidence interval, in the unit of its metric."""

    low: float
    high: float


def regression_metrics(actual: Numbers, predicted: Numbers) -> dict[Metric, float]:
    """Measures predictions against actual prices.

    Args:
        actual: Prices in dollars, shape (rows,).
        predicted: Predictions in dollars, shape (rows,).

    Returns:
        ``rmse`` and ``mae`` in dollars, ``r2_score`` (1 is perfect, 0 is as good as the mean),
        ``mape`` in per cent.

    Raises:
        DataError: There is no row, the shapes differ, a value is not a finite number, a price is 0
            (``mape`` divides by it), or all prices are equal (``r2_score`` divides by their
            spread).
    """
    sums = _sums(actual, predicted)
    if np.ptp(actual) == 0:
        raise DataError(
            f"all {len(actual)} prices are {actual[0]:g}: r2_score is undefined",
            "deliver rows with different prices",
        )
    values = _from_sums(sums.sum(axis=0))
    return dict(zip(METRICS, values.tolist(), strict=True))


def bootstrap_intervals(
    actual: Numbers,
    predicted: Numbers,
    groups: NDArray[Any],
    settings: EvaluateParams,
    seed: int,
) -> dict[Metric, Interval]:
    """Says how far chance in the choice of the rows could move each metric.

    Percentile intervals of the cluster bootstrap (Efron and Tibshirani 1993, "An Introduction to
    the Bootstrap", chapters 13 and 8): whole groups are drawn with replacement, because rows of one
    group are alike and drawing them singly would give intervals that are too narrow.

    Args:
        actual: Prices in dollars, shape (rows,).
        predicted: Predictions in dollars, shape (rows,).
        groups: The group of each row, shape (rows,).
        settings: The confidence of the intervals and the number of draws.
        seed: Of the draws.

    Returns:
        The interval of each metric, in its unit.

    Raises:
        DataError: As ``regression_metrics`` does.
    """
    regression_metrics(actual, predicted)
    sums = _sums(actual, predicted)
    labels, index = np.unique(groups, return_inverse=True)
    count = len(labels)
    by_group = np.column_stack([np.bincount(index, column, count) for column in sums.T])
    generator = np.random.default_rng(seed)
    drawn = np.empty((settings.resamples, len(METRICS)))
    for row in range(settings.resamples):
        # Added up row by row: a matrix product rounds by the kind of processor, and the report is
        # to be the same bytes on each.
        drawn[row] = _from_sums(by_group[generator.integers(count, size=count)].sum(axis=0))
    tail = (1 - settings.confidence) / 2
    # A draw in which all prices are equal has no r2_score and does not count towards it.
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return {
        name: Interval(float(bottom), float(top))
        for name, bottom, top in zip(METRICS, low, high, strict=True)
    }


def conformal_halfwidth(actual: Numbers, predicted: Numbers, coverage: float) -> float:
    """How far around a prediction the price of a new house lies, with a given probability.

    Split conformal prediction (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018,
    "Distribution-Free Predictive Inference for Regression", JASA 113, algorithm 2): the k-th
    smallest absolute error with k = ceil((rows + 1) * coverage). If new rows are like these, an
    interval of this half-width covers with at least the probability that was asked for, whatever
    the model.

    Args:
        actual: Prices in dollars of rows that the model was not fitted on, shape (rows,).
        predicted: Predictions in dollars, shape (rows,).
        coverage: The probability, such as 0.90.

    Returns:
        The half-width, in dollars.

    Raises:
        DataError: There are too few rows for this coverage, or a value is not a finite number.
    """
    _require_numbers(actual, predicted)
    rank = math.ceil((len(actual) + 1) * coverage)
    if rank > len(actual):
        raise DataError(
            f"{len(actual)} validation row(s) are too few for a coverage of {coverage:g}",
            "deliver more rows, or lower evaluate.coverage in params.yaml",
        )
    return float(np.sort(np.abs(actual - predicted))[rank - 1])


def _sums(actual: Numbers, predicted: Numbers) -> Numbers:
    """What each row adds to the sums that all metrics are made of, shape (rows, 6)."""
    _require_numbers(actual, predicted)
    if not actual.all():
        raise DataError(
            "a price is 0: mape is undefined",
            "raise the target's min in data.columns of params.yaml",
        )
    error = np.abs(actual - predicted)
    # Around the mean the squares are small, and their difference below loses no digits.
    centred = actual - actual.mean()
    return np.column_stack(
        [np.ones_like(error), error**2, error, error / np.abs(actual), centred, centred**2]
    )


def _from_sums(sums: Numbers) -> Numbers:
    """The metrics, in the order of ``METRICS``, from the sums over rows."""
    rows, squared, absolute, relative, prices, prices_squared = sums
    spread = prices_squared - prices**2 / rows
    r2 = 1 - squared / spread if spread > 0 else math.nan
    return np.array([math.sqrt(squared / rows), absolute / rows, r2, 100 * relative / rows])


def _require_numbers(actual: Numbers, predicted: Numbers) -> None:
    if actual.shape != predicted.shape or actual.ndim != 1:
        raise DataError(f"{actual.shape} prices do not match {predicted.shape} predictions")
    if actual.size == 0:
        raise DataError("there is no row to measure", "deliver more rows")
    for name, values in (("prices", actual), ("predictions", predicted)):
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise DataError(f"{bad} of {len(values)} {name} are not finite numbers")

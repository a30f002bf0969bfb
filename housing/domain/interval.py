"""The prediction interval: how far around a predicted price the true one lies, price by price.

Dear houses are harder to price than cheap ones, so one width for all would be too wide for the
cheap and too narrow for the dear. The half-width is a line through a few points instead, a
function of the predicted price; and some regions are harder than others at the same price, so each
has a factor. Points and factors are written into the evaluation report and read from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np

from housing.domain.coverage import Mask
from housing.domain.metrics import Numbers, conformal_halfwidth

BINS: Final = 7
"""Groups of rows with like predictions, at most: more follow the errors closer, and chance too."""
ROWS_PER_BIN: Final = 100
"""Rows that say how large the errors of a group are; and rows of errors as everywhere that are
added to those of a region, so that a few rows move its factor little."""


@dataclass(frozen=True)
class Interval:
    """Half-widths of the prediction interval.

    Attributes:
        predicted: Predicted prices in dollars, ascending, shape (points,).
        halfwidth: The half-width at each, in dollars, shape (points,). Between two points it is on
            their line, beyond the ends it stays.
        factors: What the half-width is multiplied by in each region, by its name; elsewhere by 1.
    """

    predicted: Numbers
    halfwidth: Numbers
    factors: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, actual: Numbers, predicted: Numbers, coverage: float, regions: Mapping[str, Mask]
    ) -> Self:
        """Calibrates the interval.

        Locally weighted split conformal prediction (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman
        2018, "Distribution-Free Predictive Inference for Regression", JASA 113, section 5.2): each
        error counts in units of a scale, here the quantile of the absolute errors of the rows with
        like predictions, times that of the rows of the region in units of it. The scale is made of
        the same rows, but of a dozen numbers only: with thousands of rows that moves the coverage
        by some tenths of a per cent.

        Args:
            actual: Prices in dollars of rows that the model was not fitted on, shape (rows,).
            predicted: Predictions in dollars, shape (rows,).
            coverage: The share of prices that the interval is to hold, such as 0.90.
            regions: The rows of each region, see `housing.domain.coverage.regions`.

        Raises:
            DataError: There are too few rows for this coverage, or a value is not a finite number.
        """
        # One width for all, which also says where the rows are too few.
        everywhere = conformal_halfwidth(actual, predicted, coverage)
        bins = max(1, min(BINS, len(actual) // ROWS_PER_BIN))
        # Equal predictions are one point: a line cannot have two heights at one price.
        edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1]))
        code = np.searchsorted(edges, predicted)
        points, scales = [], []
        for number in np.unique(code):
            some = code == number
            points.append(predicted[some].mean())
            scales.append(np.quantile(np.abs(actual - predicted)[some], coverage))
        centres = np.array(points)
        # A group without errors would divide by zero.
        scale = np.maximum(scales, max(everywhere, 1.0) / 1000)
        local = np.interp(predicted, centres, scale)
        errors = np.abs(actual - predicted) / local
        factors = {name: _factor(errors, rows, coverage) for name, rows in regions.items()}
        local *= _factor_of(factors, regions, len(predicted))
        whole = conformal_halfwidth(actual / local, predicted / local, coverage)
        return cls(centres, scale * whole, factors)

    @classmethod
    def read(cls, report: Mapping[str, Any]) -> Self:
        """Takes the interval from an evaluation report; an older one has one width for all."""
        content = report["prediction_interval"]
        points = content.get("points") or [{"predicted": 0.0, "halfwidth": content["halfwidth"]}]
        return cls(
            np.array([float(point["predicted"]) for point in points]),
            np.array([float(point["halfwidth"]) for point in points]),
            {name: float(factor) for name, factor in content.get("factors", {}).items()},
        )

    def points(self) -> list[dict[str, float]]:
        """The interval as it stands in the report."""
        pairs = zip(self.predicted.tolist(), self.halfwidth.tolist(), strict=True)
        return [{"predicted": price, "halfwidth": half} for price, half in pairs]

    def around(self, predicted: Numbers, regions: Mapping[str, Mask]) -> tuple[Numbers, Numbers]:
        """Lower and upper ends of the interval.

        Args:
            predicted: Predicted prices in dollars, shape (rows,).
            regions: The rows of each region, as for `fit`.
        """
        half = np.interp(predicted, self.predicted, self.halfwidth)
        half *= _factor_of(self.factors, regions, len(predicted))
        return predicted - half, predicted + half


def _factor(errors: Numbers, rows: Mask, coverage: float) -> float:
    """How large the errors of a region are: 1 is as large as those of like predictions."""
    some = errors[rows]
    if not some.size:
        return 1.0
    own = float(np.quantile(some, coverage))
    return (some.size * own + ROWS_PER_BIN) / (some.size + ROWS_PER_BIN)


def _factor_of(factors: Mapping[str, float], regions: Mapping[str, Mask], rows: int) -> Numbers:
    """The factor of each row, shape (rows,)."""
    found = np.ones(rows)
    for name, mask in regions.items():
        found[mask] = factors.get(name, 1.0)
    return found

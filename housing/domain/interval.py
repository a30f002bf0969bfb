"""The prediction interval: how far around a predicted price the true one lies, price by price.

Dear houses are harder to price than cheap ones, so one width for all would be too wide for the
cheap and too narrow for the dear. The half-width is a line through a few points instead: a
function of the predicted price alone, written into the evaluation report and read from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from housing.domain.metrics import Numbers, conformal_halfwidth

BINS: Final = 10
"""Groups of rows with like predictions, at most."""
ROWS_PER_BIN: Final = 100
"""Rows that say how large the errors of a group are."""


@dataclass(frozen=True)
class Interval:
    """Half-widths of the prediction interval.

    Attributes:
        predicted: Predicted prices in dollars, ascending, shape (points,).
        halfwidth: The half-width at each, in dollars, shape (points,). Between two points it is on
            their line, beyond the ends it stays.
    """

    predicted: Numbers
    halfwidth: Numbers

    @classmethod
    def fit(cls, actual: Numbers, predicted: Numbers, coverage: float) -> Self:
        """Calibrates the interval.

        Locally weighted split conformal prediction (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman
        2018, "Distribution-Free Predictive Inference for Regression", JASA 113, section 5.2): each
        error counts in units of a scale, here the quantile of the absolute errors of the rows with
        like predictions. The scale is made of the same rows, but of ten numbers only: with
        thousands of rows that moves the coverage by some tenths of a per cent.

        Args:
            actual: Prices in dollars of rows that the model was not fitted on, shape (rows,).
            predicted: Predictions in dollars, shape (rows,).
            coverage: The share of prices that the interval is to hold, such as 0.90.

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
        return cls(
            centres, scale * conformal_halfwidth(actual / local, predicted / local, coverage)
        )

    @classmethod
    def read(cls, report: Mapping[str, Any]) -> Self:
        """Takes the interval from an evaluation report; an older one has one width for all."""
        content = report["prediction_interval"]
        points = content.get("points") or [{"predicted": 0.0, "halfwidth": content["halfwidth"]}]
        return cls(
            np.array([float(point["predicted"]) for point in points]),
            np.array([float(point["halfwidth"]) for point in points]),
        )

    def points(self) -> list[dict[str, float]]:
        """The interval as it stands in the report."""
        pairs = zip(self.predicted.tolist(), self.halfwidth.tolist(), strict=True)
        return [{"predicted": price, "halfwidth": half} for price, half in pairs]

    def around(self, predicted: Numbers) -> tuple[Numbers, Numbers]:
        """Lower and upper ends of the interval.

        Args:
            predicted: Predicted prices in dollars, shape (rows,).
        """
        half = np.interp(predicted, self.predicted, self.halfwidth)
        return predicted - half, predicted + half

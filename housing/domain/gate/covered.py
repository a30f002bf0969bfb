"""The checks of the prediction interval: does it hold as many prices as it says, everywhere?

A share of few rows is off by chance, so it fails only where it is beyond the limit for sure: by the
exact one-sided bound of a binomial share (Clopper and Pearson 1934, Biometrika 26:404).
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from scipy.special import betaincinv

from housing.domain.config import Coordinates, GateParams
from housing.domain.coverage import Coverage, coverages
from housing.domain.verdict import Check

ROUNDING = 1e-9
"""0.90 - 0.88 is a little more than 0.02 to a computer."""


def coverage(predictions: pl.DataFrame, nominal: float, limits: GateParams) -> Check:
    """Checks that the prediction interval holds as many prices as it says.

    Args:
        predictions: `actual`, `predicted`, `lower`, `upper` of the test rows; at least one.
        nominal: The share of prices that the interval should hold.
        limits: What is allowed.
    """
    found = coverages(predictions, {})[0]
    low, high = _bounds(found, 1 - limits.confidence)
    gap = limits.max_coverage_gap + ROUNDING
    return Check(
        name="coverage",
        passed=low <= nominal + gap and high >= nominal - gap,
        value=found.share,
        limit=nominal,
        sentence=f"the interval holds {found.share:.1%} of {found.rows:,} prices ({low:.1%} to "
        f"{high:.1%} for sure); {nominal:.0%} is nominal, {limits.max_coverage_gap:.1%} may be "
        "between",
    )


def slice_coverage(
    predictions: pl.DataFrame,
    nominal: float,
    places: Mapping[str, Coordinates],
    limits: GateParams,
) -> Check:
    """Checks the same in each decile of the predicted price and in each region with enough rows.

    The error rate is shared among them (Bonferroni), for one of many is off by chance.

    Args:
        predictions: `actual`, `predicted`, `lower`, `upper` and the location of the test rows.
        nominal: The share of prices that the interval should hold.
        places: Latitude and longitude of each region's centre, in degrees, by its name.
        limits: What is allowed.
    """
    parts = [
        part for part in coverages(predictions, places)[1:] if part.rows >= limits.min_slice_rows
    ]
    gap = limits.max_slice_coverage_gap + ROUNDING
    wrong = []
    for part in parts:
        low, high = _bounds(part, (1 - limits.confidence) / len(parts))
        if low > nominal + gap or high < nominal - gap:
            wrong.append(f"{part.share:.1%} in {part.name} ({part.rows:,} rows)")
    worst = max(parts, key=lambda part: abs(part.share - nominal), default=None)
    if wrong:
        sentence = f"the interval holds {', '.join(wrong)}; "
    elif worst is None:
        sentence = f"no slice has {limits.min_slice_rows} rows; "
    else:
        sentence = (
            f"of {len(parts)} slices none is off for sure; farthest is {worst.name}, where the "
            f"interval holds {worst.share:.1%} of {worst.rows:,} prices; "
        )
    return Check(
        name="slice_coverage",
        passed=not wrong,
        value=worst.share if worst else None,
        limit=nominal,
        sentence=f"{sentence}{nominal:.0%} is nominal, {limits.max_slice_coverage_gap:.1%} may be "
        "between",
    )


def _bounds(part: Coverage, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper bound of a share."""
    hits, misses = part.inside, part.rows - part.inside
    low = float(betaincinv(hits, misses + 1, alpha)) if hits else 0.0
    high = float(betaincinv(hits + 1, misses, 1 - alpha)) if misses else 1.0
    return low, high

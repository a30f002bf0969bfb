"""Champion against challenger on the same held-out rows, by a bootstrap over places.

Whole groups of neighbours are resampled, see `housing.domain.groups` (cluster bootstrap: Davison
and Hinkley 1997, section 3.8).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from housing.domain.config import Coordinates, GateParams
from housing.domain.coverage import DECILES, regions
from housing.domain.groups import effective, group

MIN_SLICE_GROUPS = 10
"""Groups, by their effective number, that a slice must have: one street is no region."""
MAX_CELLS = 4000
"""Cells beyond this number are resampled in groups: constant memory, and no less safe."""
KEPT_BACK = 0.1
"""Share of the error rate that is kept back for the bootstrap's own error: with as many cells as
here it is right to about a tenth (benchmarks/gate_power.py)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SliceLoss:
    """How much worse the challenger is in a part of the rows, in dollars of RMSE.

    Attributes:
        name: The slice, for people.
        rows: Number of rows in it.
        loss: Challenger's RMSE minus champion's; negative where the challenger is better.
        bound: One-sided lower bound of the loss, corrected for the number of slices.
    """

    name: str
    rows: int
    loss: float
    bound: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger and champion on common rows, in dollars of RMSE.

    Attributes:
        rows: Number of rows that both models were scored on.
        cells: Number of groups of neighbours that were resampled.
        effective: Number of groups of equal size that say as much.
        champion_rmse: The champion's RMSE on these rows.
        challenger_rmse: The challenger's RMSE on these rows.
        gain: Champion's RMSE minus challenger's; positive where the challenger is better.
        bound: One-sided lower bound of the gain, or None where there are too few groups for one.
        slices: The same for regions and price deciles with enough rows.
    """

    rows: int
    cells: int
    effective: float
    champion_rmse: float
    challenger_rmse: float
    gain: float
    bound: float | None
    slices: tuple[SliceLoss, ...]


def held_out(predictions: pl.DataFrame, *seen: pl.DataFrame) -> pl.DataFrame:
    """Keeps the rows that no model of interest has seen in training or validation.

    Args:
        predictions: One line a test row, with its identity in `_row`.
        *seen: For each model, the identities it has seen, in `_row`.
    """
    for rows in seen:
        predictions = predictions.join(rows, on="_row", how="anti", maintain_order="left")
    return predictions


def pair(challenger: pl.DataFrame, champion: pl.DataFrame) -> pl.DataFrame:
    """Puts the predictions of two models for the same rows side by side.

    Several rows can share an identity (block groups at the same coordinates), so rows are
    matched by identity and price, and in order where both agree. Rows that share an identity
    share a cell, so whichever of them are matched, the sums of a cell are the same.

    Args:
        challenger: `_row`, `actual`, `predicted`, and the location where there is one.
        champion: `_row`, `actual`, `predicted`.

    Returns:
        The challenger's columns for the common rows, and `champion`, in the challenger's order.
    """
    key = ["_row", "actual", "_nth"]
    nth = pl.int_range(pl.len()).over("_row", "actual").alias("_nth")
    other = champion.select("_row", "actual", pl.col("predicted").alias("champion"), nth)
    return (
        challenger.with_columns(nth)
        .join(other, on=key, how="inner", maintain_order="left")
        .drop("_nth")
    )


def compare(
    paired: pl.DataFrame, limits: GateParams, places: Mapping[str, Coordinates], seed: int
) -> Comparison:
    """Measures the challenger's gain over the champion, and how sure it is.

    Args:
        paired: What `pair` made; at least one row.
        limits: Number of resamples, confidence of the bounds, rows that a slice must have.
        places: Names of the regions, each with its latitude and longitude in degrees: a row belongs
            to the nearest, as in the evaluation report.
        seed: Makes the bounds repeatable.
    """
    groups = group(paired)
    codes = groups.codes % MAX_CELLS
    slices = {
        name: mask
        for name, mask in _slices(paired, places).items()
        if mask.sum() >= limits.min_slice_rows and effective(codes[mask]) >= MIN_SLICE_GROUPS
    }
    everything = np.ones(paired.height, dtype=bool)
    sums = _sums(paired, codes, [everything, *slices.values()])
    total = _losses(sums.sum(axis=0, keepdims=True))[0]
    drawn = _losses(_weights(len(sums), limits.resamples, seed) @ sums)
    alpha = _expanded((1 - limits.confidence) * (1 - KEPT_BACK), effective(codes))
    bounds = np.nanquantile(drawn[:, 1:], alpha / max(1, len(slices)), axis=0)
    actual, champion = paired["actual"].to_numpy(), paired["champion"].to_numpy()
    challenger = paired["predicted"].to_numpy()
    return Comparison(
        rows=paired.height,
        cells=groups.count,
        effective=effective(codes),
        champion_rmse=_rmse(actual, champion),
        challenger_rmse=_rmse(actual, challenger),
        gain=0.0 - float(total[0]),  # no -0.0
        bound=_safe_bound(-drawn[:, 0], -float(total[0]), alpha) if groups.enough else None,
        slices=tuple(
            SliceLoss(name, int(mask.sum()), float(loss), float(bound))
            for (name, mask), loss, bound in zip(slices.items(), total[1:], bounds, strict=True)
        ),
    )


def _expanded(alpha: float, groups: float) -> float:
    """The error rate to ask of the bootstrap, so that it is right with few groups too.

    The bootstrap takes the normal distribution where few groups need Student's, and is too narrow
    by the factor sqrt((n - 1) / n): the expanded percentile interval (Hesterberg 2015, "What
    Teachers Should Know About the Bootstrap", American Statistician 69:371, section 5.3).

    Args:
        alpha: The error rate that is wanted.
        groups: Effective number of groups.
    """
    if groups <= 1:
        return alpha
    return float(ndtr(math.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, alpha)))


def _safe_bound(draws: Floats, value: float, alpha: float) -> float:
    """The lower of two bootstrap bounds: percentile and basic.

    They differ where the draws are skewed, each to its own side (Davison and Hinkley 1997, chapter
    5); the lower one keeps the error rate below alpha either way.
    """
    percentile = float(np.quantile(draws, alpha, method="lower"))
    basic = 2 * value - float(np.quantile(draws, 1 - alpha, method="higher"))
    return min(percentile, basic) + 0.0  # no -0.0


def _rmse(actual: Floats, predicted: Floats) -> float:
    return float(np.sqrt(np.mean((actual - predicted) ** 2)))


def _slices(rows: pl.DataFrame, places: Mapping[str, Coordinates]) -> dict[str, NDArray[np.bool_]]:
    actual = rows["actual"].to_numpy()
    edges = np.quantile(actual, np.linspace(0, 1, DECILES + 1)[1:-1])
    decile = np.searchsorted(edges, actual, side="right")
    slices = {f"price decile {number + 1}": decile == number for number in range(DECILES)}
    slices |= {f"region {name}": mask for name, mask in regions(rows, places).items()}
    return slices


def _sums(
    rows: pl.DataFrame, codes: NDArray[np.intp], masks: Sequence[NDArray[np.bool_]]
) -> Floats:
    """Rows and squared errors of both models, by cell: (cells, 3 per mask)."""
    actual = rows["actual"].to_numpy()
    challenger = (rows["predicted"].to_numpy() - actual) ** 2
    champion = (rows["champion"].to_numpy() - actual) ** 2
    size = int(codes.max()) + 1
    columns = [
        np.bincount(codes, weights=values * mask, minlength=size)
        for mask in masks
        for values in (np.ones(rows.height), challenger, champion)
    ]
    return np.stack(columns, axis=1)


def _losses(sums: Floats) -> Floats:
    """Challenger's RMSE minus champion's, from rows and squared errors: (draws, masks)."""
    count, challenger, champion = (sums[:, start::3] for start in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        loss: Floats = np.sqrt(challenger / count) - np.sqrt(champion / count)
    return loss


def _weights(cells: int, resamples: int, seed: int) -> Floats:
    """How often each cell is drawn in each resample: (resamples, cells)."""
    draws = np.random.default_rng(seed).multinomial(
        cells, np.full(cells, 1 / cells), size=resamples
    )
    return draws.astype(np.float64)

"""How far a delivery lies from the table that the champion was made from.

Both sides are the summaries that ``ingest_data`` writes, so that no row has to be kept. A number
column is compared by the Wasserstein distance of its quantiles in units of the champion's
standard deviation: 0.1 means that the values moved by a tenth of a standard deviation on average.
A column of strings is compared by the Jensen-Shannon distance (base 2, 0 to 1) of its shares.
Evidently, a monitoring library, uses the same two measures and the same limit for large tables
(docs.evidentlyai.com, "Data drift").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

LIMIT = 0.1
"""A column above this has drifted."""


def drift(reference: dict[str, Any], delivery: dict[str, Any]) -> dict[str, float]:
    """Compares the columns that both summaries have.

    Args:
        reference: ``columns`` of the champion's data quality report.
        delivery: ``columns`` of one delivery.

    Returns:
        The distance of each column. One without values on a side, or of which the sides have
        different quantiles, is left out.
    """
    distances = {}
    for name in reference.keys() & delivery.keys():
        distance = _distance(reference[name], delivery[name])
        if distance is not None:
            distances[name] = distance
    return dict(sorted(distances.items()))


def _distance(reference: dict[str, Any], delivery: dict[str, Any]) -> float | None:
    if reference.get("categories") and delivery.get("categories"):
        return _between_shares(reference["categories"], delivery["categories"])
    quantiles = [side.get("quantiles") or [None] for side in (reference, delivery)]
    if any(None in side for side in quantiles) or len(set(map(len, quantiles))) > 1:
        return None
    spread = reference.get("std") or 1.0
    return _between_quantiles(*quantiles) / spread


def _between_quantiles(reference: Sequence[float], delivery: Sequence[float]) -> float:
    """The Wasserstein distance of two samples of equal size (Peyré, Cuturi 2019, remark 2.28)."""
    # scipy.stats has it for samples of any size, and is heavy to import.
    return float(np.abs(np.sort(reference) - np.sort(delivery)).mean())


def _between_shares(reference: dict[str, int], delivery: dict[str, int]) -> float:
    from scipy.spatial.distance import jensenshannon  # it is heavy to import

    levels = sorted(reference.keys() | delivery.keys())
    return float(
        jensenshannon(
            [reference.get(level, 0) for level in levels],
            [delivery.get(level, 0) for level in levels],
            base=2,
        )
    )

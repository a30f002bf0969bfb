"""The gate, as pure arithmetic: which checks a model passed, and why it is promoted or not."""

from housing.domain.gate.checks import (
    agreement,
    count,
    fact,
    gain,
    golden,
    newer,
    same,
    slices,
    thresholds,
)
from housing.domain.gate.compare import Comparison, SliceLoss, compare, held_out, pair
from housing.domain.gate.covered import coverage, slice_coverage

__all__ = [
    "Comparison",
    "SliceLoss",
    "agreement",
    "compare",
    "count",
    "coverage",
    "fact",
    "gain",
    "golden",
    "held_out",
    "newer",
    "pair",
    "same",
    "slice_coverage",
    "slices",
    "thresholds",
]

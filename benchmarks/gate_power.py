"""How often the gate promotes by chance, how often it sees a true gain, and how long it takes.

Two models' errors are simulated on a map: a part that both share, a part that the houses of a cell
of 0.1 degrees share, and a part of each house alone. Two pairs are simulated: siblings (the same
model with another seed) and strangers (another kind of model), sized so that the gain scatters as
it does between real models on California. Run it by ``uv run python benchmarks/gate_power.py``.
"""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from housing.domain import gate
from housing.domain.config import GateParams
from housing.domain.gate import Comparison
from housing.domain.verdict import Contest

ROWS = 4000
CELLS = 900
TRIALS = 1000
SHARED = 40_000.0
PAIRS = {"siblings": (2_000.0, 6_000.0), "strangers": (8_000.0, 20_000.0)}
"""Errors in dollars that are a model's own: by cell, and by house."""
# Slices could only lower the share of promotions: this is about the gain alone.
LIMITS = GateParams(
    min_r2=0.75, max_rmse=50_000, max_regression=400, resamples=500, min_slice_rows=ROWS + 1
)


def trial(pair: str, gain: float, seed: int, limits: GateParams = LIMITS) -> Comparison:
    """Compares two simulated models whose true RMSE differs by a gain.

    Args:
        pair: Which of `PAIRS`.
        gain: Champion's true RMSE minus challenger's, in dollars.
        seed: Of the trial.
        limits: Of the comparison.
    """
    # Not the stream from which the comparison draws its resamples.
    random = np.random.default_rng((1, seed))
    by_cell, by_house = PAIRS[pair]
    cells = random.integers(0, CELLS, ROWS)
    shared = random.normal(0, SHARED, ROWS)
    champion, challenger = (
        shared + random.normal(0, by_cell, CELLS)[cells] + random.normal(0, by_house, ROWS)
        for _ in range(2)
    )
    true = float(np.sqrt(SHARED**2 + by_cell**2 + by_house**2))
    actual = random.uniform(50_000, 500_000, ROWS)
    paired = pl.DataFrame(
        {
            "_row": [str(number) for number in range(ROWS)],
            "latitude": 33 + (cells // 30) / 10 + 0.05,
            "longitude": -121 + (cells % 30) / 10 + 0.05,
            "actual": actual,
            "predicted": actual + challenger * (1 - gain / true),
            "champion": actual + champion,
        }
    )
    return gate.compare(paired, limits, {}, seed)


def main() -> None:
    """Prints the table."""
    cases: tuple[tuple[str, float, Contest], ...] = (
        ("siblings", 0, "improvement"),
        ("strangers", 0, "improvement"),
        ("siblings", 1000, "improvement"),
        ("strangers", 1000, "improvement"),
        ("siblings", 0, "refresh"),
        ("siblings", -400, "refresh"),
    )
    print(f"{TRIALS} trials of {ROWS} rows")
    print(f"{'pair':<10}{'true gain':>10}  {'contest':<12}{'promoted':>9}{'sd of gain':>12}")
    for pair, gain, contest in cases:
        found = [trial(pair, gain, seed) for seed in range(TRIALS)]
        share = np.mean([gate.gain(one, contest, LIMITS).passed for one in found])
        spread = np.std([one.gain for one in found])
        print(f"{pair:<10}{gain:>10,.0f}  {contest:<12}{share:>9.1%}{spread:>12,.0f}", flush=True)
    whole = LIMITS.model_copy(update={"resamples": 2000, "min_slice_rows": 100})
    start = time.perf_counter()
    trial("siblings", 0, 0, whole)
    print(f"one comparison, 2,000 resamples: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()

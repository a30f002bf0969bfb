"""What other settings of a candidate are worth, on eight cuts of rows that no one tests on.

    uv run python benchmarks/try_settings.py neighbours "max_depth=6 waves=0" "waves=0"

Each argument after the candidate's name replaces settings of `train.NAME` in params.yaml. ``RMSE``
is the mean over the cuts, on the rows that stopped the training; ``difference`` is that to the
settings of params.yaml, with its standard error; ``trees`` is how many are kept. The cuts are those
of ``make tune``, by other seeds, of the rows that neither the pipeline nor the published cut of
``make quality`` tests on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
import yaml
from numpy.typing import NDArray
from quality import ROOT, read_houses, tested_nowhere

from housing.domain.config import parse_params
from housing.domain.overrides import override
from housing.domain.training import stop_early
from scripts.tune import cuts

SEEDS = range(10, 18)
NEXT_SETTING = re.compile(r"\s+(?=[\w.]+=)")


def main() -> None:
    """Prints a line for each set of settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("candidate")
    parser.add_argument("settings", nargs="+", help="such as 'max_depth=6 reg_lambda=10'")
    arguments = parser.parse_args()
    settings = ["", *arguments.settings]
    # Spawned: Polars' threads would be missing in a forked process.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(stopped, arguments.candidate, *one) for one in product(settings, SEEDS)]
        tried = [job.result() for job in jobs]
    errors, trees = np.array(tried).reshape(len(settings), len(SEEDS), 2).transpose(2, 0, 1)
    print("    RMSE  difference  trees  settings")
    for name, own, count in zip(settings, errors, trees, strict=True):
        print(f"{own.mean():>8,.0f}  {difference(own - errors[0])}  {count.mean():>5.0f}  {name}")


def difference(apart: NDArray[np.float64]) -> str:
    """The mean of differences, and its standard error."""
    return f"{apart.mean():>+5.0f} +-{apart.std(ddof=1) / np.sqrt(apart.size):>3.0f}"


def stopped(candidate: str, settings: str, seed: int) -> tuple[float, int]:
    """The RMSE in dollars on one cut's validation rows, and the number of trees."""
    pairs = [f"train.{candidate}.{one}" for one in NEXT_SETTING.split(settings) if one]
    text = override((ROOT / "params.yaml").read_text(encoding="utf-8"), pairs)
    params = parse_params(yaml.safe_load(text), "params.yaml")
    (cut,) = cuts(tested_nowhere(read_houses(params), params), params, [seed])
    own = params.train[candidate]
    found = stop_early(own, cut.train, cut.validation, params.seed, cut.transform)
    error = float(np.sqrt(np.mean((found.held_out - cut.validation.y) ** 2)))
    return error, found.best_iteration + 1


if __name__ == "__main__":
    main()

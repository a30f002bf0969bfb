"""`make tune` on rows that the published cut does not test on either.

    uv run python benchmarks/tune_published.py neighbours --trials 45

What it proposes has seen no test row, neither the pipeline's nor those of the published cut of
``make quality``, so both tell honestly how good it is.
"""

from __future__ import annotations

import argparse

from quality import ROOT, read_houses, untested

from housing.domain.config import load_params
from housing.settings import load_settings
from scripts.tune import propose, search


def main() -> None:
    """Runs the search and prints what it proposes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("candidate")
    parser.add_argument("--trials", type=int, default=45, help="trials in all")
    arguments = parser.parse_args()
    params = load_params(ROOT / "params.yaml")
    houses = untested(read_houses(params), params)
    found = search(load_settings(), params, arguments.candidate, arguments.trials, houses)
    propose(found, arguments.candidate)


if __name__ == "__main__":
    main()

"""`make tune` on rows that the published cut does not test on either.

    uv run python benchmarks/tune_published.py neighbours --trials 45

What it proposes has seen no test row, neither the pipeline's nor those of the published cut of
``make quality``, so both tell honestly how good it is.
"""

from __future__ import annotations

from quality import read_houses, tested_nowhere

from scripts.tune import main

if __name__ == "__main__":
    main(lambda _, params: tested_nowhere(read_houses(params), params))

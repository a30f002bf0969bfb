"""Work on many rows, some at a time, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHUNK: Final = 4096
"""Rows that are worked on at a time: few, so that what is in use fits into a processor's cache, and
enough that the millisecond which XGBoost takes for a call does not count."""


def in_chunks(rows: NDArray[np.intp], work: Callable[[NDArray[np.intp]], None]) -> None:
    """Does some work for all rows.

    Args:
        rows: Their numbers, in the order of the work.
        work: Does it for some rows, which no other call has.
    """
    first, rest = rows[:CHUNK], rows[CHUNK:]
    if first.size:
        work(first)  # the others find what this one makes for all
    if not rest.size:
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, rest.size, CHUNK)
        for done in [pool.submit(work, rest[start : start + CHUNK]) for start in starts]:
            done.result()

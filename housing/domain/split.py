"""Which rows train, which validate, which test: by a seeded hash, or by time.

By a hash, a row's side depends on its identity and the seed alone, so it keeps its side when rows
are added, removed or reordered. By time, the newest rows test, the next validate, and the oldest
train, as a model is used: it prices what comes after all that it has learned from. Either way rows
that agree in the identity never stand on two sides.

The hash is BLAKE2b (RFC 7693) of the values' ASCII text, not Polars' or Python's own ``hash``:
those differ between versions, platforms and processes. Python writes a float as the shortest text
that reads back as the same number, and ``ascii`` escapes all that is not ASCII, so the text is
stable too.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from housing.domain.config import SplitParams
from housing.domain.tables import SIDES
from housing.errors import DataError

_DIGEST = 8  # bytes: among ten million identities, two share a hash with a probability of 3e-6


def row_ids(frame: pl.DataFrame, identity: tuple[str, ...]) -> pl.Series:
    """Names each row by a hash that depends on its identity only.

    Args:
        frame: The table.
        identity: Columns whose values make up a row's identity.

    Returns:
        16 hexadecimal digits for each row. They do not depend on the seed, so that rows can be
        matched between results of different seeds.
    """
    # -0.0 equals 0.0 but is written differently. Polars leaves out the addition of a zero.
    unsigned = pl.when(cs.float() == 0).then(cs.float().abs()).otherwise(cs.float())
    rows = frame.select(identity).with_columns(unsigned).iter_rows()
    ids = [blake2b(ascii(row).encode(), digest_size=_DIGEST).hexdigest() for row in rows]
    return pl.Series("row", ids, dtype=pl.String)


@dataclass(frozen=True)
class TimeSplit:
    """A split by time.

    Attributes:
        side: ``train``, ``validation`` or ``test`` for each row.
        starts: First moment of the validation and of the test rows; training rows are all older.
        moved: Rows older than the start of their side: their house has a newer row there.
    """

    side: pl.Series
    starts: dict[str, Any]
    moved: int


def sides_by_time(ids: pl.Series, times: pl.Series, shares: SplitParams) -> TimeSplit:
    """Puts the newest rows on the side test, the next on validation, the others on train.

    All rows of an identity stand where its newest row does: a house that was sold before and is
    sold again among the newest is held out with both sales. So no model has learned from a house
    that it is tested on, nor from anything that happened after the tests began. Rows of one moment
    share a side, so that a side may be larger than its share.

    Args:
        ids: What ``row_ids`` returned.
        times: A date or a number for each row, none of them null; greater is newer.
        shares: Least shares of the held-out sides.

    Raises:
        DataError: A side got no row.
    """
    newest = pl.DataFrame({"row": ids, "time": times}).select(pl.max("time").over("row"))["time"]
    ordered = newest.sort(descending=True)
    held_out = {"test": shares.test, "validation": shares.test + shares.validation}
    starts = {
        side: ordered[max(0, round(share * len(ordered)) - 1)] if len(ordered) else None
        for side, share in held_out.items()
    }
    frame = pl.DataFrame({"newest": newest, "time": times})
    side = frame.select(
        pl.when(pl.col("newest") >= starts["test"])
        .then(pl.lit("test"))
        .when(pl.col("newest") >= starts["validation"])
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
        .alias("side")
    )["side"]
    _require_all(side)
    start = side.replace_strict(starts, default=None, return_dtype=times.dtype)
    return TimeSplit(side, starts, int((times < start).sum()))


def sides(ids: pl.Series, seed: int, shares: SplitParams) -> pl.Series:
    """Puts each row on its side.

    The lowest hashes are the test rows, the next the validation rows: a larger share of validation
    takes rows from training only.

    Args:
        ids: What ``row_ids`` returned.
        seed: Another seed gives an independent split.
        shares: Expected shares of the held-out sides.

    Returns:
        ``train``, ``validation`` or ``test`` for each row.

    Raises:
        DataError: A side got no row.
    """
    position = pl.Series(_positions(ids, seed))
    held_out = shares.test + shares.validation
    side = pl.select(
        pl.when(position < shares.test)
        .then(pl.lit("test"))
        .when(position < held_out)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
        .alias("side")
    ).to_series()
    _require_all(side)
    return side


def _require_all(side: pl.Series) -> None:
    for name in SIDES:
        if not (side == name).any():
            raise DataError(
                f"no row of {len(side)} falls on the side {name} of the split",
                "deliver more rows, or raise its share under split in params.yaml",
            )


def _positions(ids: pl.Series, seed: int) -> NDArray[np.float64]:
    """Spreads the rows evenly over [0, 1), independently for each seed."""
    digests = (blake2b(f"{seed}:{row}".encode(), digest_size=_DIGEST).digest() for row in ids)
    numbers = np.fromiter((int.from_bytes(digest) for digest in digests), np.uint64, len(ids))
    # Only 53 bits fit into a float: more would round up to 1.0.
    numbers >>= np.uint64(11)
    return numbers.astype(np.float64) / 2**53

"""Which rows train, which validate, which test: decided by a seeded hash of the row's identity.

A row's side depends on its identity and the seed alone, so it keeps its side when rows are added,
removed or reordered, and rows that agree in the identity never stand on two sides.

The hash is BLAKE2b (RFC 7693) of the values' ASCII text, not Polars' or Python's own ``hash``:
those differ between versions, platforms and processes. Python writes a float as the shortest text
that reads back as the same number, and ``ascii`` escapes all that is not ASCII, so the text is
stable too.
"""

from __future__ import annotations

from hashlib import blake2b

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
    position = _positions(ids, seed)
    held_out = shares.test + shares.validation
    side = pl.Series(
        "side",
        np.select([position < shares.test, position < held_out], ["test", "validation"], "train"),
        dtype=pl.String,
    )
    for name in SIDES:
        if not (side == name).any():
            raise DataError(
                f"no row of {len(side)} falls on the side {name} of the split",
                "deliver more rows, or raise its share under split in params.yaml",
            )
    return side


def _positions(ids: pl.Series, seed: int) -> NDArray[np.float64]:
    """Spreads the rows evenly over [0, 1), independently for each seed."""
    digests = b"".join(
        blake2b(f"{seed}:{row}".encode(), digest_size=_DIGEST).digest() for row in ids
    )
    # Only 53 bits fit into a float: more would round up to 1.0.
    numbers = np.frombuffer(digests, dtype=">u8") >> np.uint64(11)
    return numbers.astype(np.float64) / 2**53

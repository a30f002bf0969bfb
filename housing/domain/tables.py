"""The layout of ``data/features/*.parquet``: features first, then what else is known of a row.

The writer (feature engineering) and the readers (training, evaluation, the gate) share these names,
and a reader needs no other part of the writer's code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from housing.errors import DataError

SIDES = ("train", "validation", "test")
"""The sides of the split, each a file."""
ROW = "_row"
"""Stable hash of the row's identity, 16 hexadecimal digits. Rows of one identity share it."""
TARGET = "_target"
"""The price in dollars, Float64."""
LATITUDE = "_latitude"
"""Degrees north as delivered, Float64. Only where the table has a location."""
LONGITUDE = "_longitude"
"""Degrees east as delivered, Float64. Only where the table has a location."""
META = (ROW, TARGET, LATITUDE, LONGITUDE)
"""Every column that is not a feature."""

PART: Final = 2**18
"""Rows that are read at a time where all of them may be more than memory holds. A multiple of
``chunks.CHUNK``, so that what adds up by those adds up alike over parts and over all."""


@dataclass(frozen=True)
class Table:
    """One side of the split, as the feature stage wrote it.

    Attributes:
        source: Feature columns (Float32), then those of ``META`` that the table has. Of a lazy one,
            only what is asked for is read, and what `parts` gives is not kept.
        behind: Tables with the same columns, whose rows come after those.
    """

    source: pl.DataFrame | pl.LazyFrame
    behind: tuple[Table, ...] = ()

    @classmethod
    def joined(cls, first: Table, *others: Table) -> Self:
        """The rows of several tables with the same columns, one table behind the other."""
        return cls(first.source, (*first.behind, *others))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self.source.lazy().collect_schema().names())

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the feature columns, in the order the model sees them."""
        return tuple(name for name in self.columns if name not in META)

    @cached_property
    def height(self) -> int:
        """How many rows there are."""
        return int(self._rows.select(pl.len()).collect().item())

    @cached_property
    def frame(self) -> pl.DataFrame:
        """All columns of all rows."""
        return self._rows.collect()

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """Feature values, shape (rows, features), NaN where a value is missing."""
        return self.frame.select(self.features).to_numpy(order="c")

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Prices in dollars, shape (rows,)."""
        return self.column(TARGET).to_numpy()

    @cached_property
    def identities(self) -> NDArray[np.intp]:
        """A number for each row, which the rows of one identity share, shape (rows,)."""
        number = pl.col(ROW).str.to_integer(base=16, dtype=pl.UInt64)
        hashes = self._rows.select(number).collect().to_series().to_numpy()
        return np.unique(hashes, return_inverse=True)[1]

    @property
    def located(self) -> bool:
        """Whether the rows have a latitude and a longitude."""
        return LATITUDE in self.columns

    def column(self, name: str) -> pl.Series:
        """One column of all rows."""
        return self._rows.select(name).collect().to_series()

    def parts(self, names: tuple[str, ...]) -> Iterator[NDArray[np.float32]]:
        """Reads some features of all rows, at most `PART` rows at a time.

        Args:
            names: Of the features.

        Yields:
            Their values, shape (rows of the part, names), NaN where a value is missing.
        """
        source = self.source.lazy().select(names)
        height = source.select(pl.len()).collect().item()
        # Not of the rows as they are joined: Polars would read all that lies before a part.
        for start in range(0, height, PART):
            yield source.slice(start, PART).collect().to_numpy(order="c")
        for table in self.behind:
            yield from table.parts(names)

    @property
    def _rows(self) -> pl.LazyFrame:
        return pl.concat([self.source.lazy(), *(table._rows for table in self.behind)])


def read_table(path: Path) -> Table:
    """Opens one side of the split; its rows are read where they are needed.

    Args:
        path: A Parquet file of the feature stage.

    Raises:
        DataError: The file is missing, or is not such a table.
    """
    try:
        table = Table(pl.scan_parquet(path))
        missing = {ROW, TARGET} - set(table.columns)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", "dvc repro") from error
    if missing or not table.height:
        fact = f"lacks {', '.join(sorted(missing))}" if missing else "has no row"
        raise DataError(f"{path} {fact}", "dvc repro --force")
    return table

"""The layout of ``data/features/*.parquet``: features first, then what else is known of a row.

The writer (feature engineering) and the readers (training, evaluation, the gate) share these names,
and a reader needs no other part of the writer's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

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


@dataclass(frozen=True)
class Table:
    """One side of the split, as the feature stage wrote it.

    Attributes:
        frame: Feature columns (Float32), then those of ``META`` that the table has.
    """

    frame: pl.DataFrame

    @classmethod
    def joined(cls, *tables: Self) -> Self:
        """The rows of several tables with the same columns, one table behind the other."""
        return cls(pl.concat([table.frame for table in tables]))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the feature columns, in the order the model sees them."""
        return tuple(name for name in self.frame.columns if name not in META)

    @cached_property
    def x(self) -> NDArray[np.float32]:
        """Feature values, shape (rows, features), NaN where a value is missing."""
        return self.frame.select(self.features).to_numpy(order="c")

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Prices in dollars, shape (rows,)."""
        return self.frame[TARGET].to_numpy()

    @property
    def located(self) -> bool:
        """Whether the rows have a latitude and a longitude."""
        return LATITUDE in self.frame.columns


def read_table(path: Path) -> Table:
    """Reads one side of the split.

    Args:
        path: A Parquet file of the feature stage.

    Raises:
        DataError: The file is missing, or is not such a table.
    """
    try:
        table = Table(pl.read_parquet(path))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", "dvc repro") from error
    missing = {ROW, TARGET} - set(table.frame.columns)
    if missing or table.frame.is_empty():
        fact = f"lacks {', '.join(sorted(missing))}" if missing else "has no row"
        raise DataError(f"{path} {fact}", "dvc repro --force")
    return table

"""Features of many rows, kept in a file while a model learns from them.

What learns goes through all rows several times. It gets them by plain reads, some rows at a time:
the pages of a memory map would count as memory of the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np

from housing.domain.nearest import Features
from housing.domain.tables import PART


@dataclass(frozen=True)
class Stored:
    """Rows of features in a file.

    Iterating gives `PART` rows at a time, the last time what is left, as often as asked.

    Attributes:
        file: Float32, row by row.
        rows: How many rows there are.
        width: How many features each has.
    """

    file: BinaryIO
    rows: int
    width: int

    def __iter__(self) -> Iterator[Features]:
        """Reads the rows, of which no more than a part is in memory."""
        for start in range(0, self.rows, PART):
            yield self._read(start, min(PART, self.rows - start))

    def whole(self) -> Features:
        """All rows at once, shape (rows, features)."""
        return self._read(0, self.rows)

    def _read(self, start: int, rows: int) -> Features:
        x = np.empty((rows, self.width), dtype=np.float32)
        self.file.seek(start * self.width * x.itemsize)
        self.file.readinto(x.data)  # type: ignore[attr-defined]  # typeshed leaves it out
        return x


@contextmanager
def stored(parts: Iterable[Features]) -> Iterator[Stored]:
    """Keeps rows in a file without a name, as long as they are needed.

    Args:
        parts: A part of the rows after the other, each of shape (rows of the part, features).
    """
    # In the working folder: the system's folder for temporary files is memory in many places.
    with TemporaryFile(dir=".") as file:
        rows = width = 0
        for part in parts:
            file.write(np.ascontiguousarray(part).data)
            rows, width = rows + len(part), part.shape[1]
        yield Stored(file, rows, width)

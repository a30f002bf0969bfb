"""A delivery read to its end against the schema, and the limit of bad rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from housing.domain.data.landing import DeliveryFile
from housing.domain.data.schema import FILE, REASONS, ROW, RowSchema, Split
from housing.errors import DataError

_SHOWN = 5


@dataclass
class Tally:
    """Counts rows while they are read.

    Attributes:
        rows: Rows read so far.
        bad: How many of them broke a rule.
        reasons: How many rows broke each rule.
        examples: Place and reasons of the first bad rows.
    """

    rows: int = 0
    bad: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def bad_fraction(self) -> float:
        """Share of the bad rows, 0 where there are no rows."""
        return self.bad / self.rows if self.rows else 0.0

    def add(self, split: Split) -> None:
        """Counts one batch, whose bad rows name their file."""
        self.rows += split.good.height + split.bad.height
        self.bad += split.bad.height
        self.reasons.update(split.counts)
        few = split.bad.head(_SHOWN - len(self.examples)).select(FILE, ROW, REASONS)
        self.examples += [f"{file}, row {row}: {reasons}" for file, row, reasons in few.rows()]

    def require_few_bad(self, limit: float, hint: str) -> None:
        """Stops where too many rows are bad.

        Args:
            limit: The share of bad rows that is still taken, ``ingest.max_bad_fraction``.
            hint: Where to look and what to do.

        Raises:
            DataError: More rows are bad; names the share, the limit, and the commonest reasons.
        """
        if self.bad_fraction <= limit:
            return
        commonest = sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
        reasons = [f"{reason}: {count} row(s)" for reason, count in commonest]
        lines = "".join(f"\n  - {line}" for line in [*reasons, *self.examples])
        raise DataError(
            f"{self.bad} of {self.rows} rows are bad ({self.bad_fraction:.2%}), "
            f"more than ingest.max_bad_fraction ({limit:.2%}); most often, and first:{lines}",
            hint,
        )


def checked(file: DeliveryFile, schema: RowSchema) -> Iterator[Split]:
    """Splits a delivery into good and bad rows, a batch at a time.

    Args:
        file: The delivery, opened with the columns of the schema.
        schema: The rules.

    Yields:
        The batches in order; their bad rows have a column ``file`` with the file's name, and rows
        are numbered from 1.

    Raises:
        DataError: The file cannot be read to its end.
    """
    first_row = 1
    for batch in file.batches():
        split = schema.split(batch, first_row)
        bad = split.bad.insert_column(
            0, pl.repeat(file.path.name, split.bad.height, eager=True).alias(FILE)
        )
        yield Split(split.good, bad, split.counts)
        first_row += batch.height

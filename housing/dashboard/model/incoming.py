"""What came in: deliveries to train on, and files to price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Delivery:
    """One file of the landing folder, and how far it lies from the champion's table.

    Attributes:
        name: Of the file.
        rows: In the file.
        drift: By column: see ``housing.domain.drift``. Empty without a champion.
    """

    name: str
    rows: int
    drift: dict[str, float]


@dataclass(frozen=True)
class Quality:
    """What became of the rows of the newest result's deliveries."""

    rows_in: int
    rows_kept: int
    rows_quarantined: int
    rows_duplicate: int
    reasons: dict[str, int]
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True)
class ScoredFile:
    """A file that the live model priced.

    Attributes:
        name: Of the file.
        time: When it was priced.
        rows: In the file.
        quarantined: How many of them got no price.
        drift: Distance from the model's own data by column: see ``housing.domain.drift``.
    """

    name: str
    time: datetime
    rows: int
    quarantined: int
    drift: dict[str, float]


@dataclass(frozen=True)
class Live:
    """What the live model was asked to price.

    Attributes:
        files: Newest first.
        usual: Share of the rows of its own deliveries that went to quarantine, or None.
    """

    files: tuple[ScoredFile, ...]
    usual: float | None

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def quarantined(self) -> int:
        """Rows of all files that got no price."""
        return sum(file.quarantined for file in self.files)

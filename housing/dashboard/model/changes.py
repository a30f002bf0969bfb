"""What differs between two results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """Something that differs between two results; "" where one of them has it not."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Changes:
    """What differs between two results.

    Attributes:
        before: Name of the older one, or of the live one.
        after: Name of the other one.
        candidates: Which candidate was chosen for each of them.
        params: Parameters that shaped the result.
        data: Deliveries, and the rows that were kept; empty where the table is the same.
        code: Files of code, by the start of their hashes.
        revisions: The commits of both.
        features: Columns that the model is fed with.
    """

    before: str
    after: str
    candidates: tuple[str, str]
    params: tuple[Change, ...]
    data: tuple[Change, ...]
    code: tuple[Change, ...]
    revisions: tuple[str, str]
    features: tuple[Change, ...]

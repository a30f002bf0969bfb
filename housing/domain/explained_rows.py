"""Explanations of the prices of a few test rows, which a person looks at beside the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from housing.domain.columns import Frozen
from housing.domain.explanation import Explanation, explanations, unscaled
from housing.domain.features import Transform
from housing.domain.model import Model
from housing.domain.tables import Table

COUNT: Final = 12
"""Rows of each kind; all of them together shall stay small enough for a page."""

Kind: TypeAlias = Literal["miss", "spread"]


class ExplainedRow(Frozen):
    """A test row with the explanation of its price.

    Attributes:
        kind: `miss` for one of the largest errors in dollars, `spread` for one of those that lie
            evenly from the lowest predicted price to the highest.
        actual: What the house cost, in dollars.
        latitude: In degrees; None where it has no location.
        longitude: In degrees; None where it has no location.
        columns: What is known of the house: its columns, ratios and ages, each in its own unit; a
            date is its year and month. None for what is missing, and for a rare text.
        explanation: Of its price.
    """

    kind: Kind
    actual: float
    latitude: float | None
    longitude: float | None
    columns: dict[str, float | str | None]
    explanation: Explanation


def explained_rows(
    model: Model, transform: Transform, test: Table, scored: pl.DataFrame
) -> list[ExplainedRow]:
    """Explains the rows that the model misses most, and some from the cheapest to the dearest.

    Args:
        model: The model that was tested.
        transform: What made the features.
        test: The test rows.
        scored: What the model answers for them, see `housing.domain.evaluation.Evaluation`.

    Returns:
        The largest misses first, then the others, the cheapest first.
    """
    kinds = _chosen(scored)
    index = [*kinds]
    x, rows = test.x[index], scored[index]
    predicted, lower, upper = (rows[n].to_numpy() for n in ("predicted", "lower", "upper"))
    found = explanations(model, transform, x, (predicted, lower, upper))
    values = _columns(transform, test.features, x)
    return [
        ExplainedRow(
            kind=kind,
            actual=row["actual"],
            latitude=row.get("latitude"),
            longitude=row.get("longitude"),
            columns=columns,
            explanation=explanation,
        )
        for kind, row, columns, explanation in zip(
            kinds.values(), rows.iter_rows(named=True), values, found, strict=True
        )
    ]


def _chosen(scored: pl.DataFrame) -> dict[int, Kind]:
    """Numbers of the rows, each with why it was taken."""
    predicted = scored["predicted"].to_numpy()
    errors = np.abs(scored["actual"].to_numpy() - predicted)
    misses = np.argsort(-errors, kind="stable")[:COUNT].tolist()
    others = np.array([row for row in np.argsort(predicted, kind="stable") if row not in misses])
    steps = (np.arange(COUNT) + 0.5) / COUNT * len(others)
    spread = others[np.unique(steps.astype(np.intp))] if len(others) else others
    return {**dict.fromkeys(misses, "miss"), **dict.fromkeys(spread.tolist(), "spread")}


def _columns(
    transform: Transform, features: tuple[str, ...], x: NDArray[np.float32]
) -> Iterator[dict[str, float | str | None]]:
    """What is known of each row, read back from its features."""
    names = [*transform.inputs, *transform.ratios, *transform.ages]
    for row in x.tolist():
        known = dict(zip(features, row, strict=True))

        def number(name: str, known: dict[str, float] = known) -> float | None:
            return unscaled(known[name], transform.numbers[name])

        def value(name: str, known: dict[str, float] = known) -> float | str | None:
            kind = transform.inputs.get(name)
            if kind == "date":
                year, month = number(f"{name}_year"), number(f"{name}_month")
                return None if year is None or month is None else f"{year:.0f}-{month:02.0f}"
            if kind == "string":
                levels = transform.categories[name]
                return next((level for level in levels if known[f"{name}={level}"]), None)
            return number(name)

        yield {name: value(name) for name in names}

"""What the kept rows look like: one small record a column."""

from __future__ import annotations

from typing import Any

import polars as pl

_LEVELS = tuple(tenth / 10 for tenth in range(1, 10))
_MAX_CATEGORIES = 100


def describe(table: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Describes each column, for the data quality report.

    Numbers have min, max, mean, std (of a sample) and the nine deciles; strings and truth values
    the number of rows of each of their commonest 100 values, and how many values there are; dates
    their first and last day, and nothing to compare: newer rows are newer. All in the units of the
    table.

    Args:
        table: Shape (rows, columns): Float64, Int64, String, Boolean or Date.
    """
    return {column.name: _describe(column) for column in table}


def _describe(column: pl.Series) -> dict[str, Any]:
    nulls = {"nulls": column.null_count()}
    values = column.drop_nulls()
    if column.dtype in {pl.String, pl.Boolean}:
        return nulls | _categories(values.cast(pl.String))
    if column.dtype == pl.Date:
        ends = {"min": values.min(), "max": values.max()}
        return nulls | {end: None if day is None else str(day) for end, day in ends.items()}
    values = values.sort()  # one sort serves all the quantiles
    return nulls | {
        "min": _number(values.min()),
        "max": _number(values.max()),
        "mean": _number(values.mean()),
        "std": _number(values.std()),
        "quantiles": [_number(values.quantile(level, "linear")) for level in _LEVELS],
    }


def _categories(values: pl.Series) -> dict[str, Any]:
    name = values.name
    counts = (
        values.to_frame()
        .group_by(name)
        .agg(pl.len().alias("" if name else "rows"))
        .sort(pl.nth(1), pl.nth(0), descending=[True, False])
    )
    return {"distinct": counts.height, "categories": dict(counts.head(_MAX_CATEGORIES).iter_rows())}


def _number(value: object) -> float | int | None:
    """Rounds to 12 digits: the last bits of a sum hang on how many threads added it up."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.12g}")

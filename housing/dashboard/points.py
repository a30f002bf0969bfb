"""What a table of test predictions says: a sample, the map, the deciles, the coverage."""

from __future__ import annotations

import math
from collections.abc import Iterable

import polars as pl

from housing.dashboard.model import Cell, Decile, Point
from housing.domain.gate import pair

SAMPLE = 2500
"""Points of one result in the scatter plot: more hide each other and make the page heavy."""

SQUARES = 60
"""Squares along the longer side of the map at most; there are more than a third as many."""

LOCATION = ("latitude", "longitude")

FINEST = 1e-5
"""Finest edge of a square, in degrees: about a metre."""

CELLS = 2000
"""Squares of the map at most; those with the most test rows are kept."""


def sample(predictions: pl.DataFrame) -> tuple[Point, ...]:
    """The rows with the smallest hashes: random, and the same rows for every result.

    Args:
        predictions: ``reports/predictions.parquet``.
    """
    chosen = _judged(predictions).sort("_row").head(SAMPLE)
    names = ["actual", "predicted", "inside", *(LOCATION if _is_located(chosen) else [])]
    return tuple(Point(*row) for row in chosen.select(names).iter_rows())


def edge(tables: Iterable[pl.DataFrame]) -> float:
    """Edge of a square of the map, in degrees: a round number that suits the land of all tables.

    Args:
        tables: ``reports/predictions.parquet`` of each result; those without a location are left
            out.
    """
    wide = max((_extent(table) for table in tables if _is_located(table)), default=0.0)
    finest = 10.0 ** math.floor(math.log10(max(wide / SQUARES, FINEST)))
    return next(finest * step for step in (1, 2, 5, 10) if wide / finest / step <= SQUARES)


def _extent(table: pl.DataFrame) -> float:
    ends = table.select((pl.col(name).max() - pl.col(name).min()).alias(name) for name in LOCATION)
    return max((value for value in ends.row(0) if value is not None), default=0.0)


def _is_located(table: pl.DataFrame) -> bool:
    return set(LOCATION) <= set(table.columns)


def cells(predictions: pl.DataFrame, edge: float) -> tuple[Cell, ...]:
    """The squares of the map, or nothing where the table has no location.

    Args:
        predictions: ``reports/predictions.parquet``.
        edge: Edge of a square, in degrees.
    """
    if not _is_located(predictions):
        return ()
    centre = [((pl.col(name) / edge).floor() * edge + edge / 2).alias(name) for name in LOCATION]
    residual = pl.col("actual") - pl.col("predicted")
    squares = (
        predictions.select(*centre, residual.alias("residual"))
        .drop_nulls()
        .group_by("latitude", "longitude")
        .agg(
            pl.len(),
            pl.col("residual").mean().alias("bias"),
            _rmse(pl.col("residual")).alias("rmse"),
        )
        .sort("len", "latitude", "longitude", descending=True)
        .head(CELLS)
    )
    return tuple(Cell(*row) for row in squares.iter_rows())


def deciles(predictions: pl.DataFrame, champion: pl.DataFrame | None = None) -> tuple[Decile, ...]:
    """The tenths of the rows by actual price, each with its errors.

    Args:
        predictions: ``reports/predictions.parquet``.
        champion: The same of the champion, or None without one.
    """
    number = ((pl.col("actual").rank("ordinal") - 1) * 10 // pl.len() + 1).cast(pl.Int64)
    residual = pl.col("actual") - pl.col("predicted")
    rows = _judged(predictions).with_columns(number.alias("number"), residual.alias("residual"))
    common = pair(rows, rows.clear() if champion is None else champion)
    theirs = pl.col("actual") - pl.col("champion")
    gaps = common.group_by("number").agg(
        pl.len().alias("common"), (_rmse(residual) - _rmse(theirs)).alias("gap")
    )
    table = (
        rows.group_by("number")
        .agg(
            pl.col("actual").min().alias("low"),
            pl.col("actual").max().alias("high"),
            pl.len(),
            _rmse(pl.col("residual")).alias("rmse"),
            pl.col("residual").mean().alias("bias"),
            pl.col("inside").mean().alias("coverage"),
        )
        .join(gaps, on="number", how="left")
        .with_columns(pl.col("common").fill_null(0))
        .sort("number")
    )
    return tuple(Decile(*row) for row in table.iter_rows())


def coverage(predictions: pl.DataFrame) -> float:
    """Share of the rows whose price lies in its prediction interval.

    Args:
        predictions: ``reports/predictions.parquet``, with at least one row.
    """
    return float(_judged(predictions).get_column("inside").cast(pl.Float64).sum()) / len(
        predictions
    )


def _rmse(residual: pl.Expr) -> pl.Expr:
    return (residual**2).mean().sqrt()


def _judged(predictions: pl.DataFrame) -> pl.DataFrame:
    inside = pl.col("actual").is_between(pl.col("lower"), pl.col("upper"))
    return predictions.with_columns(inside.alias("inside"))

"""The schema of a table of houses, made from ``params.yaml``, and the rows that break it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import dataframely as dy
import polars as pl

from housing.domain.columns import Column, CsvParams, Role
from housing.domain.config_rules import QUARANTINE_COLUMNS

FILE, ROW, REASONS = QUARANTINE_COLUMNS
_WRONG_TYPE = {
    "float": "not a number",
    "int": "not a whole number",
    "string": "not text",
    "bool": "neither true nor false",
    "date": "not a date",
}
DTYPES = {
    "float": pl.Float64,
    "int": pl.Int64,
    "string": pl.String,
    "bool": pl.Boolean,
    "date": pl.Date,
}
"""Polars' type of a checked column, by its type in ``params.yaml``."""
_TRUTH = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0"), 0.0),
}
_ISO = r"^(\d{4})-?(\d{2})-?(\d{2})(?:[T ]\d{2}:?\d{2}.*)?$"
"""A day of ISO 8601, in its long or its short form; a time of day after it is cut off."""
_EPOCH = dt.date(1970, 1, 1)
_MAX_LISTED = 5


@dataclass(frozen=True)
class Split:
    """Rows of one batch, told apart by a schema.

    Attributes:
        good: The typed rows, in their order; the target is in dollars.
        bad: The other rows: raw values as strings, ``row`` and ``reasons``.
        counts: How many rows broke each rule, by its reason.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    counts: dict[str, int]


class RowSchema:
    """Types and rules of a table's rows.

    Serves every reader of raw houses: the landing folder with all columns, batch scoring
    without the target.

    Args:
        columns: The columns of a row, by name, as in ``params.yaml``.
        csv: How numbers and missing values are written, where they come as text.
    """

    def __init__(self, columns: Mapping[str, Column], csv: CsvParams | None = None) -> None:
        self.columns = columns
        self._csv = csv or CsvParams()
        self.names = tuple(columns)
        self._schema = _build(columns)
        self._reasons = {
            f"{name}|{rule}": f"{name}: {reason}"
            for name, column in columns.items()
            for rule, reason in _reasons(column).items()
        }

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        """Type of each column of the good rows."""
        return {name: _dtype(column)() for name, column in self.columns.items()}

    def split(self, raw: pl.DataFrame, first_row: int = 1) -> Split:
        """Types a batch and tells its good rows from its bad ones.

        A row with a value that has the wrong type is reported for that alone: the other rules
        cannot be relied on then.

        Args:
            raw: Shape (rows, columns): the columns of this schema, as text or of native type.
            first_row: Number of the batch's first row in its file.

        Raises:
            polars.exceptions.PolarsError: A column has a type that no value can be read from.
        """
        prepared = raw.select(
            pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int64).alias(ROW),
            *(
                _prepare(name, self.columns[name], raw.schema[name], self._csv)
                for name in self.names
            ),
        )
        typed, failure = self._schema.filter(prepared, cast=True)
        counts = {self._reasons[rule]: count for rule, count in failure.counts().items()}
        return Split(
            good=typed.select(_finished(name, column) for name, column in self.columns.items()),
            bad=self._bad_rows(raw, failure.details(), first_row),
            counts=counts,
        )

    def _bad_rows(self, raw: pl.DataFrame, details: pl.DataFrame, first_row: int) -> pl.DataFrame:
        broken = (
            pl.when(pl.col(rule) == "invalid").then(pl.lit(reason))
            for rule, reason in self._reasons.items()
        )
        explained = details.select(
            ROW, pl.concat_str(*broken, separator="; ", ignore_nulls=True).alias(REASONS)
        )
        values = raw[explained[ROW] - first_row].select(pl.col(self.names).cast(pl.String))
        return pl.concat([values, explained], how="horizontal")


def _build(columns: Mapping[str, Column]) -> type[dy.Schema]:
    """A dataframely schema; column names need not be Python names, so they are aliases."""
    members: dict[str, Any] = {
        f"column_{index}": _column(name, column)
        for index, (name, column) in enumerate(columns.items())
    }
    return cast(
        "type[dy.Schema]",
        type("Houses", (dy.Schema,), {"row_": dy.Int64(alias=ROW, nullable=True), **members}),
    )


def _column(name: str, column: Column) -> dy.Column:
    if column.type == "bool":
        return dy.Int8(alias=name, nullable=column.nullable)
    if column.type == "date":
        low, high = _days(column.min), _days(column.max)
        return dy.Int32(alias=name, nullable=column.nullable, min=low, max=high)
    bounds: dict[str, Any] = {"min": column.min, "max": column.max}
    if column.role is Role.TARGET and column.min is None:
        bounds["min_exclusive"] = 0  # mape divides by the price
    if column.type == "float":
        return dy.Float64(alias=name, nullable=column.nullable, **bounds)
    if column.type == "int":
        return dy.Int64(alias=name, nullable=column.nullable, **bounds)
    return dy.String(alias=name, nullable=column.nullable, check=_string_checks(column))


def _string_checks(column: Column) -> dict[str, Callable[[pl.Expr], pl.Expr]]:
    checks: dict[str, Callable[[pl.Expr], pl.Expr]] = {
        # An unclosed quote makes one long value of the lines that follow it.
        "one_line": lambda value: ~value.str.contains("\n", literal=True)
    }
    if column.categories is not None:
        allowed = list(column.categories)
        checks["category"] = lambda value: value.is_in(allowed)
    return checks


def _reasons(column: Column) -> dict[str, str]:
    """What a broken rule means to a reader, by dataframely's name of the rule."""
    reasons = {"dtype": _WRONG_TYPE[column.type]}
    if not column.nullable:
        reasons["nullability"] = "missing"
    if column.min is not None:
        reasons["min"] = f"{'before' if column.type == 'date' else 'below'} {_shown(column.min)}"
    elif column.role is Role.TARGET:
        reasons["min_exclusive"] = "not above 0"
    if column.max is not None:
        reasons["max"] = f"{'after' if column.type == 'date' else 'above'} {_shown(column.max)}"
    if column.type == "float":
        reasons |= {"inf": "not finite", "nan": _WRONG_TYPE["float"]}
    if column.type == "string":
        reasons["check__one_line"] = "more than one line"
    if column.categories is not None:
        listed = ", ".join(column.categories[:_MAX_LISTED])
        more = ", …" if len(column.categories) > _MAX_LISTED else ""
        reasons["check__category"] = f"none of {listed}{more}"
    return reasons


def _shown(bound: float | dt.date) -> str:
    return str(bound) if isinstance(bound, dt.date) else f"{bound:.15g}"


def _days(bound: float | dt.date | None) -> int | None:
    """Days since 1970, as Polars keeps a date."""
    return (bound - _EPOCH).days if isinstance(bound, dt.date) else None


def _dtype(column: Column) -> type[pl.DataType]:
    return pl.Float64 if column.role is Role.TARGET else DTYPES[column.type]


def _prepare(name: str, column: Column, dtype: pl.DataType, csv: CsvParams) -> pl.Expr:
    """Brings a raw column to where dataframely's cast does the rest.

    Blank text, NaN and what ``nulls`` names mean "missing". A cast from float to integer would cut
    off the decimals in silence, so that it goes by way of text, where ``3.0`` is a whole number and
    ``3.5`` is not. A float of single precision goes by way of text too: 37.88 is the same house as
    in another file, 37.880001 is not. Codes that pandas made floats, for want of some, are whole
    numbers again. Truth values and days become whole numbers, NaN where they are none.
    """
    value = pl.col(name)
    if dtype == pl.Float64 and column.type == "float":
        return _without_codes(value.fill_nan(None), column)
    if dtype.is_integer() and column.type in {"float", "int"}:
        return _without_codes(value, column)
    nulls = ["", *csv.nulls, *(column.nulls or ())]
    if dtype.is_float():
        value = value.fill_nan(None)
    elif isinstance(dtype, pl.Date | pl.Datetime):
        value = value.dt.to_string("iso:strict")
    text = value.cast(pl.String).str.strip_chars().replace(nulls, None)
    if column.type == "date":
        return _as_days(text, None if dtype.is_temporal() else column.format).alias(name)
    if column.type == "bool":
        truth = text.str.to_lowercase().replace_strict(
            _TRUTH, default=math.nan, return_dtype=pl.Float64
        )
        return pl.when(text.is_not_null()).then(truth).alias(name)
    if column.type == "string" and not dtype.is_float():
        return text
    if csv.decimal_comma and dtype == pl.String:
        # 1.500 might be one and a half or fifteen hundred: with the signs swapped it is no number.
        text = text.str.replace_many([",", "."], [".", ","])
    text = pl.when(text.str.to_lowercase() != "nan").then(text).alias(name)
    text = text if column.type == "float" else text.str.replace(r"^([+-]?\d+)\.0*$", "$1")
    return text if column.type == "string" else _without_codes(text, column)


def _without_codes(value: pl.Expr, column: Column) -> pl.Expr:
    """Takes out the numbers that mean "missing", however they are written: -1 is -1.0."""
    codes = [number for null in column.nulls or () if (number := _number(null)) is not None]
    if not codes:
        return value
    is_code = value.cast(pl.Float64, strict=False).is_in(codes).fill_null(value=False)
    return pl.when(~is_code).then(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _as_days(text: pl.Expr, written: str | None) -> pl.Expr:
    """Days since 1970 as a float; NaN for text that is no date, which no cast to integer takes."""
    if written is None:
        text, written = text.str.replace(_ISO, "$1-$2-$3"), "%Y-%m-%d"
    days = text.str.to_date(written, strict=False).cast(pl.Int32).cast(pl.Float64)
    return pl.when(text.is_not_null()).then(days.fill_null(math.nan))


def _finished(name: str, column: Column) -> pl.Expr:
    """Gives a checked column its own type; bool and date were checked as whole numbers."""
    value = pl.col(name)
    if column.role is Role.TARGET:
        return (value.cast(pl.Float64) * column.scale).round(2)
    return value.cast(_dtype(column))

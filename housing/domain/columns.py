"""What a delivery looks like: its columns, and how its CSV files are written."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from housing.domain.column_rules import INPUTS, id_columns


def _bound(value: object) -> float | dt.date:
    """Takes a number or a day; one validator, so that a wrong value is one fault and not two."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        try:
            return dt.date.fromisoformat(str(value))
        except ValueError:
            number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise PydanticCustomError(
            "bound", "Input should be a finite number, or a day such as 2014-05-31"
        )
    return number


def _written(bound: float | dt.date) -> float | str:
    return bound.isoformat() if isinstance(bound, dt.date) else bound


Bound = Annotated[
    float | dt.date, PlainValidator(_bound), PlainSerializer(_written, when_used="json")
]
ColumnType: TypeAlias = Literal["float", "int", "string", "bool", "date"]


class Frozen(BaseModel):
    """Base of every part of the configuration: immutable, no unknown keys."""

    # Deferred, the parts are built once, inside the whole: less for a DAG file to wait for.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Section(Frozen):
    """Base of every part of ``params.yaml``: no number in it is infinite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Role(StrEnum):
    """What a column is to the model."""

    FEATURE = "feature"
    LATITUDE = "latitude"
    LONGITUDE = "longitude"
    TARGET = "target"
    ID = "id"
    IGNORE = "ignore"


class Column(Section):
    """One column of a delivery.

    Attributes:
        type: What its values are.
        role: What it is to the model.
        min: Least good value, of a number or a date.
        max: Greatest good value.
        nullable: Whether a value may be missing.
        categories: The good values of a string.
        nulls: What stands for a missing value, besides nothing at all: text, or a number.
        format: How a date is written as text, in the signs of ``strftime``; ISO 8601 by default.
        scale: Dollars per unit, for the target.
        description: For people.
    """

    type: ColumnType
    role: Role = Role.FEATURE
    min: Bound | None = None
    max: Bound | None = None
    nullable: bool = False
    categories: tuple[str, ...] | None = Field(default=None, min_length=1)
    nulls: tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...] | None = None
    format: str | None = None
    scale: float = Field(default=1.0, gt=0, description="dollars per unit, for the target")
    description: str = ""


class CsvParams(Section):
    """How CSV files are written; the defaults are what most programs write.

    Attributes:
        separator: The sign between two values.
        decimal_comma: Numbers are written ``1,5``; a number with a point is a fault of its row.
        encoding: A name that Python knows, such as ``utf-16`` or ``cp1252``.
        nulls: What stands for a missing value, besides nothing at all.
    """

    separator: str = ","
    decimal_comma: bool = False
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ()


class DataParams(Section):
    """Where deliveries arrive and what their columns are."""

    landing: Path
    csv: CsvParams = Field(default_factory=CsvParams)
    columns: dict[str, Column]
    identity: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _identified(cls, content: object) -> object:
        """Makes the identity of the columns with the role id, where it is not given."""
        if not isinstance(content, Mapping) or content.get("identity") is not None:
            return content
        ids = id_columns(content)
        return {**content, "identity": ids} if ids else content

    @property
    def target(self) -> str:
        """Name of the target column."""
        return next(name for name, column in self.columns.items() if column.role is Role.TARGET)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the columns that a model needs, in the order of the file."""
        return tuple(name for name, col in self.columns.items() if col.role in INPUTS)

    @property
    def described(self) -> tuple[str, ...]:
        """Names of the columns that a model learns from: the inputs and the target."""
        return tuple(n for n, col in self.columns.items() if n == self.target or n in self.inputs)

    @property
    def location(self) -> tuple[str, str] | None:
        """Names of the latitude and longitude columns, or None where the table has none."""
        names = {column.role: name for name, column in self.columns.items()}
        if Role.LATITUDE not in names:
            return None
        return names[Role.LATITUDE], names[Role.LONGITUDE]

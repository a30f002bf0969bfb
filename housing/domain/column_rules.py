"""Rules of the columns in ``params.yaml``, on its raw content: see ``config_rules``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

Fault: TypeAlias = tuple[str, str]
"""A key, with its parents, and what is wrong with it."""

NUMBERS = ("float", "int")
"""Types of numeric columns."""
INPUTS = ("feature", "latitude", "longitude")
"""Roles of the columns that a model needs."""


def column_faults(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Everything that is wrong within the columns, and between their roles.

    Args:
        content: What the YAML file holds.
    """
    for name, column in columns_of(content).items():
        for rule in (_column, _bounds, _date, _target):
            yield from ((f"data.columns.{name}.{key}", text) for key, text in rule(column))
    yield from _roles(content)


def id_columns(data: Mapping[str, Any]) -> list[str]:
    """Names of the columns with the role id, in the order of the file.

    Args:
        data: The section ``data`` of a params file.
    """
    return [name for name, column in columns_of({"data": data}).items() if role_of(column) == "id"]


def _column(column: Mapping[str, Any]) -> Iterator[Fault]:
    own, kind = role_of(column), column.get("type")
    if own in {"target", "latitude", "longitude"} and kind in {"string", "bool", "date"}:
        yield "role", f"{own} needs a number, and the type is {kind}"
    if own == "id" and column.get("nullable") is True:
        yield "nullable", "rows without an id would all be one house"
    if kind != "string" and column.get("categories") is not None:
        yield "categories", "are for strings; numbers have min and max"


def _bounds(column: Mapping[str, Any]) -> Iterator[Fault]:
    kind = column.get("type")
    for bound in ("min", "max"):
        value = column.get(bound)
        if value is None:
            continue
        if isinstance(value, dt.date):
            yield bound, f'write the day in quotes, "{value}": DVC reads no date of YAML'
        elif kind in {"string", "bool"}:
            yield bound, f"is for numbers and dates, and the type is {kind}"
        elif kind in NUMBERS and _day(value):
            yield bound, f"{value} is a day, and the type is {kind}"
        elif kind == "date" and as_number(value) is not None:
            yield bound, f"{value} is no day such as 2014-05-31, and the type is date"
    read: Callable[[object], Any] = _day if kind == "date" else as_number
    low, high = read(column.get("min")), read(column.get("max"))
    if low is not None and high is not None and low > high:
        yield "min", f"{_shown(low)} is above max, {_shown(high)}"


def _date(column: Mapping[str, Any]) -> Iterator[Fault]:
    written, kind = column.get("format"), column.get("type")
    if written is not None and kind != "date":
        yield "format", f"is for dates, and the type is {kind}"
    elif isinstance(written, str) and not _tells_a_day(written):
        yield "format", f"tells no day: {written!r}; one that does is '%m/%d/%Y'"


def _target(column: Mapping[str, Any]) -> Iterator[Fault]:
    low = as_number(column.get("min"))
    if role_of(column) == "target":
        if column.get("nullable") is True:
            yield "nullable", "the target cannot be missing"
        if low is not None and low <= 0:
            yield "min", f"{low:g} lets prices of 0 by, and mape divides by the price"
    elif as_number(column.get("scale", 1)) not in {1, None}:
        yield "scale", "is for the target only"


def _roles(content: Mapping[str, Any]) -> Iterator[Fault]:
    columns = columns_of(content)
    if not columns:
        return
    of_role = {
        wanted: [name for name, column in columns.items() if role_of(column) == wanted]
        for wanted in ("target", "latitude", "longitude")
    }
    targets = of_role["target"]
    if len(targets) != 1:
        named = f" ({', '.join(targets)})" if targets else ""
        yield "data.columns", f"exactly one column has the role target, not {len(targets)}{named}"
    if (len(of_role["latitude"]), len(of_role["longitude"])) not in {(0, 0), (1, 1)}:
        yield (
            "data.columns",
            "latitude and longitude come as a pair, one column each, or not at all",
        )
    if not any(role_of(column) in INPUTS for column in columns.values()):
        yield "data.columns", f"no column has the role {', '.join(INPUTS[:-1])} or {INPUTS[-1]}"


def columns_of(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The columns of a params file, by name."""
    columns = as_mapping(as_mapping(content.get("data")).get("columns"))
    return {name: as_mapping(column) for name, column in columns.items()}


def role_of(column: Mapping[str, Any]) -> str:
    """The role of a column; it is a feature by default."""
    return str(column.get("role", "feature"))


def as_mapping(value: object) -> dict[str, Any]:
    """A value as a mapping with names as keys, empty where it is none."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def as_list(value: object) -> list[Any]:
    """A value as a list, empty where it is none."""
    return [*value] if isinstance(value, list | tuple) else []


def as_number(value: object) -> float | None:
    """The number that the models make of a value, or None where they make none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _day(value: object) -> dt.date | None:
    """The day that the models make of a value, or None where they make none."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        return dt.date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _shown(value: float | dt.date) -> str:
    return str(value) if isinstance(value, dt.date) else f"{value:g}"


def _tells_a_day(written: str) -> bool:
    day = dt.date(2014, 5, 31)
    try:
        return dt.datetime.strptime(day.strftime(written), written).date() == day  # noqa: DTZ007 - a day
    except ValueError:
        return False

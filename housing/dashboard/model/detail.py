"""A result looked at row by row: on the map, by price, by place."""

from __future__ import annotations

from dataclasses import dataclass

from housing.dashboard.model.result import Result
from housing.domain.explained_rows import ExplainedRow


@dataclass(frozen=True)
class Point:
    """One test row: what the house cost and what the model said, in dollars."""

    actual: float
    predicted: float
    inside: bool
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True)
class Cell:
    """The test rows of one square of the map.

    Attributes:
        latitude: Of the centre, in degrees.
        longitude: Of the centre, in degrees.
        rows: How many.
        bias: Mean residual (actual minus predicted), in dollars.
        rmse: In dollars.
    """

    latitude: float
    longitude: float
    rows: int
    bias: float
    rmse: float


@dataclass(frozen=True)
class Decile:
    """A tenth of the test rows by actual price.

    Attributes:
        number: 1 (cheapest) to 10.
        low: Lowest price, in dollars.
        high: Highest price, in dollars.
        rows: How many.
        rmse: In dollars.
        bias: Mean residual (actual minus predicted), in dollars.
        coverage: Share of rows whose price lies in its prediction interval.
        common: How many of the rows the champion was tested on, too.
        gap: RMSE minus the champion's on these, in dollars; None where there are none.
    """

    number: int
    low: float
    high: float
    rows: int
    rmse: float
    bias: float
    coverage: float
    common: int = 0
    gap: float | None = None


@dataclass(frozen=True)
class Region:
    """The test rows nearest to one of the places in ``params.yaml``.

    Attributes:
        name: Of the place.
        rows: How many.
        rmse: In dollars.
        bias: Mean residual (actual minus predicted), in dollars.
    """

    name: str
    rows: int
    rmse: float
    bias: float


@dataclass(frozen=True)
class Detail:
    """A result looked at row by row: made for the results that matter now.

    Attributes:
        result: Which one.
        role: Its aliases, ``newest``, or both.
        rows: Test rows.
        points: A fixed sample of the test rows, the same rows for every result.
        cells: Of the map; empty where the table has no location.
        deciles: Of the actual price.
        regions: Empty where the table has no location.
        coverage: Share of all test rows whose price lies in its prediction interval.
        nominal: The coverage that was asked for.
        halfwidth: Mean half-width of the prediction interval, in dollars.
        edge: Edge of a square of the map, in degrees.
        explained: Test rows with the explanations of their prices; empty where the result was
            made before there were any.
    """

    result: Result
    role: str
    rows: int
    points: tuple[Point, ...]
    cells: tuple[Cell, ...]
    deciles: tuple[Decile, ...]
    regions: tuple[Region, ...]
    coverage: float
    nominal: float
    halfwidth: float
    edge: float = 0.2
    explained: tuple[ExplainedRow, ...] = ()

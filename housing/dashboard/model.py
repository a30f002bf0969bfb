"""What the dashboard shows, as frozen plain data: no MLflow, no HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from housing.domain.gate import Verdict

METRICS = ("rmse", "mae", "r2_score", "mape")
"""The metrics of a result: dollars, dollars, a share, per cent."""


@dataclass(frozen=True)
class Estimate:
    """A metric and the bootstrap interval around it, where one was made."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Result:
    """One result of the pipeline: one MLflow run, maybe registered as a version.

    Attributes:
        name: ``v3`` where a version was registered, else the start of the fingerprint.
        run_id: Of MLflow.
        created: When the run was tracked.
        candidate: Which candidate was chosen.
        version: In the model registry, or None.
        metrics: By name, on the test rows.
        verdict: Of the gate, or None where it never looked at this result.
    """

    name: str
    run_id: str
    created: datetime
    candidate: str
    version: int | None
    metrics: dict[str, Estimate]
    verdict: Verdict | None


@dataclass(frozen=True)
class Alias:
    """A name of the registry, the result it points to, and since when."""

    name: str
    result: Result
    since: datetime


@dataclass(frozen=True)
class Move:
    """One alias move, from the registry's journal."""

    time: datetime
    alias: str
    before: str
    after: str
    who: str
    why: str


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
        halfwidth: Of the prediction interval, in dollars.
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
class StageBar:
    """One stage in one run of the pipeline.

    Attributes:
        stage: Its name.
        verdict: ``ran``, ``restored``, ``unchanged``, or ``failed``.
        seconds: What it took.
        saved: Seconds that the cache saved.
    """

    stage: str
    verdict: str
    seconds: float
    saved: float


@dataclass(frozen=True)
class PipelineRun:
    """One run of the DAG."""

    name: str
    ended: datetime
    state: str
    stages: tuple[StageBar, ...]

    @property
    def cached(self) -> int:
        """Stages that did not have to run."""
        return sum(stage.verdict in {"restored", "unchanged"} for stage in self.stages)

    @property
    def saved(self) -> float:
        """Seconds that the cache saved."""
        return sum(stage.saved for stage in self.stages)


@dataclass(frozen=True)
class DashboardData:
    """Everything on the page.

    Attributes:
        model: Name of the registered model.
        made: When this was collected.
        limits: The gate's absolute limit by metric, where it has one.
        staging: Name of the alias that the gate moves.
        champion: Name of production's alias.
        results: Newest last.
        aliases: Champion first.
        details: Champion first, newest last; each result once.
        moves: Newest first.
        quality: Of the newest result, or None without one.
        runs: Newest first.
    """

    model: str
    made: datetime
    limits: dict[str, float]
    staging: str
    champion: str
    results: tuple[Result, ...] = ()
    aliases: tuple[Alias, ...] = ()
    details: tuple[Detail, ...] = ()
    moves: tuple[Move, ...] = ()
    quality: Quality | None = None
    runs: tuple[PipelineRun, ...] = field(default=())

    def alias(self, name: str) -> Alias | None:
        """The alias of that name, or None where nothing stands in it."""
        return next((alias for alias in self.aliases if alias.name == name), None)

    @property
    def newest(self) -> Result | None:
        """The newest result."""
        return self.results[-1] if self.results else None

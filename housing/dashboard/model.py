"""What the dashboard shows, as frozen plain data: no MLflow, no HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from housing.dashboard.runs import Row
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
        verdict: Of the gate: what its version was promoted by, else the last one; None where it
            never looked at this result.
        later: The last verdict, where that is another one.
        withdrawn: Who took its version back and why, or "".
        declined: Who did not want it as champion and why, or "".
        overrides: The parameter overrides that it was made with.
        kept_back: Why a result with overrides is not in staging, or "".
        data_time: When its data was ingested, where that is known.
        run_link: Where a browser sees its run, or "".
        version_link: Where a browser sees its version, or "".
    """

    name: str
    run_id: str
    created: datetime
    candidate: str
    version: int | None
    metrics: dict[str, Estimate]
    verdict: Verdict | None
    later: Verdict | None = None
    withdrawn: str = ""
    declined: str = ""
    overrides: tuple[str, ...] = ()
    kept_back: str = ""
    data_time: datetime | None = None
    run_link: str = ""
    version_link: str = ""


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
        halfwidth: Mean half-width of the prediction interval, in dollars.
        edge: Edge of a square of the map, in degrees.
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
        params: Parameters that shaped the result.
        data: Deliveries, and the rows that were kept; empty where the table is the same.
        code: Files of code, by the start of their hashes.
        revisions: The commits of both.
        features: Columns that the model is fed with.
    """

    before: str
    after: str
    params: tuple[Change, ...]
    data: tuple[Change, ...]
    code: tuple[Change, ...]
    revisions: tuple[str, str]
    features: tuple[Change, ...]


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
        runs: Newest first, see ``housing.dashboard.runs``.
        live: What the champion was asked to price, or None without one.
        changes: What differs between the newest result and the champion, or the version before
            where that is the champion; None where there is nothing to compare.
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
    runs: tuple[Row, ...] = field(default=())
    live: Live | None = None
    changes: Changes | None = None

    @property
    def airflow(self) -> str:
        """Base address of the Airflow UI that showed the newest run, or "" where none is known."""
        links = (str(run["link"]) for run in self.runs if run["link"])
        return next(links, "").partition("/dags/")[0]

    def alias(self, name: str) -> Alias | None:
        """The alias of that name, or None where nothing stands in it."""
        return next((alias for alias in self.aliases if alias.name == name), None)

    @property
    def newest(self) -> Result | None:
        """The newest result."""
        return self.results[-1] if self.results else None

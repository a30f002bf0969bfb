"""Everything on the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from housing.dashboard.model.changes import Changes
from housing.dashboard.model.detail import Detail
from housing.dashboard.model.incoming import Live, Quality
from housing.dashboard.model.result import Alias, Move, Result
from housing.dashboard.runs import Row


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

"""A result of the pipeline, and the names that the registry gives it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from housing.domain.verdict import Verdict

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

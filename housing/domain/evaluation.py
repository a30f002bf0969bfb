"""Which candidate is best, and everything the report says about it.

The candidate is picked by validation rows alone. Test rows are scored once, by that candidate only.
A residual is the actual price minus the predicted one, in dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from housing.domain.config import Coordinates, Params
from housing.domain.coverage import coverages, regions
from housing.domain.groups import effective, group
from housing.domain.interval import Interval
from housing.domain.metrics import bootstrap_intervals, regression_metrics
from housing.domain.model import Model
from housing.domain.tables import LATITUDE, LONGITUDE, ROW, Table

PLOT_POINTS = 2000
"""Rows that a scatter plot shows at most: more would make a large file and a dark blot."""

_QUANTILES = (5, 25, 50, 75, 95)  # per cent, of the residuals


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        candidate: Name of the picked candidate.
        model: Its model.
        trainings: The training report of every candidate, by name.
        rows: Number of rows on each side of the split.
        validation: Rows that calibrate the prediction interval.
        held_out: Their prices in dollars, by a model that has not learned from them, shape (rows,).
        test: Rows that nobody has looked at yet.
        places: Regions of the residual analysis: a row belongs to the nearest. May be empty.
    """

    candidate: str
    model: Model
    trainings: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, int]
    validation: Table
    held_out: NDArray[np.float64]
    test: Table
    places: Mapping[str, Coordinates]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        report: The content of ``evaluation_report.json``.
        predictions: One row for each test row, in its order: ``_row``, ``latitude`` and
            ``longitude`` where there is a location, then ``actual``, ``predicted``, ``lower`` and
            ``upper`` in dollars.
        plots: The table behind each plot, by name.
    """

    report: dict[str, Any]
    predictions: pl.DataFrame
    plots: dict[str, pl.DataFrame]


def pick_candidate(trainings: Mapping[str, Mapping[str, Any]]) -> str:
    """Picks the candidate with the lowest validation RMSE; the first of equals.

    Args:
        trainings: The training report of each candidate, by name.
    """
    return min(trainings, key=lambda name: float(trainings[name]["validation"]["rmse"]))


def evaluate(subject: Subject, params: Params) -> Evaluation:
    """Scores the test rows once and says how good, how sure, where wrong and why.

    Args:
        subject: What is evaluated.
        params: ``seed`` and ``evaluate`` are used. The gate's limits are not: they judge a result
            and are no part of it.

    Raises:
        DataError: There are too few rows, or a price or prediction that cannot be measured.
        ModelError: The model does not fit the features.
    """
    settings = params.evaluate
    known = regions(located(subject.validation), subject.places)
    interval = Interval.fit(subject.validation.y, subject.held_out, settings.coverage, known)
    scored = _score(subject, interval)
    actual, predicted = scored["actual"].to_numpy(), scored["predicted"].to_numpy()
    metrics = regression_metrics(actual, predicted)
    groups = group(scored)
    intervals = (
        bootstrap_intervals(actual, predicted, groups.codes, settings, params.seed)
        if groups.enough
        else {}
    )
    importance = subject.model.importance()
    report = {
        "candidate": subject.candidate,
        "candidates": {name: report["validation"] for name, report in subject.trainings.items()},
        "rows": dict(subject.rows),
        "metrics": metrics,
        "intervals": {name: asdict(interval) for name, interval in intervals.items()},
        "confidence": settings.confidence,
        "groups": {"effective": effective(groups.codes), "degrees": groups.degrees},
        "residuals": _residuals(scored, subject.places),
        "importance": importance,
        "prediction_interval": {
            "nominal": settings.coverage,
            **_covered(scored, subject.places),
            "points": interval.points(),
            "factors": dict(interval.factors),
        },
    }
    curve = subject.trainings[subject.candidate]["curve"]
    return Evaluation(report, scored, _scatters(scored) | _bars(importance) | _curve(curve))


def _score(subject: Subject, interval: Interval) -> pl.DataFrame:
    test = subject.test
    predicted, where = subject.model.predict(test.x), located(test)
    lower, upper = interval.around(predicted, regions(where, subject.places))
    columns = [test.frame[ROW], *where]
    columns += [pl.Series("actual", test.y), pl.Series("predicted", predicted)]
    columns += [pl.Series("lower", lower), pl.Series("upper", upper)]
    return pl.DataFrame(columns)


def located(rows: Table) -> pl.DataFrame:
    """``latitude`` and ``longitude``, or no column where the table has no location."""
    names = {LATITUDE: "latitude", LONGITUDE: "longitude"} if rows.located else {}
    return rows.frame.select(pl.col(column).alias(name) for column, name in names.items())


def _covered(scored: pl.DataFrame, places: Mapping[str, Coordinates]) -> dict[str, Any]:
    """The mean half-width in dollars, the share of prices in the interval, and where it is."""
    found = coverages(scored, places)
    return {
        "halfwidth": float((scored["upper"] - scored["lower"]).mean()) / 2,  # type: ignore[arg-type]
        "coverage": found[0].share,
        "coverage_by": {
            part.name: {"rows": part.rows, "coverage": part.share} for part in found[1:]
        },
    }


def _residuals(scored: pl.DataFrame, places: Mapping[str, Coordinates]) -> dict[str, Any]:
    residual = (scored["actual"] - scored["predicted"]).to_numpy()
    return {
        "mean": float(residual.mean()),
        "std": float(residual.std()),
        "quantiles": {f"p{q}": float(np.percentile(residual, q)) for q in _QUANTILES},
        "by_decile": _by_decile(scored),
        "by_region": _by_region(scored, places),
    }


def _by_decile(scored: pl.DataFrame) -> list[dict[str, Any]]:
    """Residuals from the cheapest tenth of the rows to the dearest."""
    rank = pl.col("actual").rank("ordinal") - 1
    return _groups(scored.with_columns(decile=rank * 10 // pl.len() + 1), "decile")


def _by_region(scored: pl.DataFrame, places: Mapping[str, Coordinates]) -> list[dict[str, Any]]:
    """Residuals of the rows around each place; rows without a location belong to none."""
    parts = [
        scored.filter(pl.Series(rows)).with_columns(region=pl.lit(name))
        for name, rows in regions(scored, places).items()
    ]
    return _groups(pl.concat(parts), "region") if parts else []


def _groups(scored: pl.DataFrame, key: str) -> list[dict[str, Any]]:
    residual = pl.col("actual") - pl.col("predicted")
    return (
        scored.group_by(key)
        .agg(
            low=pl.col("actual").min(),
            high=pl.col("actual").max(),
            rows=pl.len(),
            mean=residual.mean(),
            rmse=(residual**2).mean().sqrt(),
        )
        .sort(key)
        .to_dicts()
    )


def _scatters(scored: pl.DataFrame) -> dict[str, pl.DataFrame]:
    # The rows are in the order of their hash: a random sample that stays when rows are added.
    shown = scored.sort(ROW, maintain_order=True).head(PLOT_POINTS)
    actual, predicted = (pl.col(name).round(0).cast(pl.Int64) for name in ("actual", "predicted"))
    return {
        "predicted_vs_actual": shown.select(actual, predicted),
        "residuals": shown.select(predicted, residual=actual - predicted),
    }


def _bars(importance: Mapping[str, float]) -> dict[str, pl.DataFrame]:
    return {"importance": pl.DataFrame({"feature": [*importance], "gain": [*importance.values()]})}


def _curve(curve: list[Mapping[str, float]]) -> dict[str, pl.DataFrame]:
    steps = [(step["iteration"], step["validation_rmse"]) for step in curve]
    return {"learning_curve": pl.DataFrame(steps, schema=["iteration", "rmse"], orient="row")}

"""The tables that the charts draw, as rows of JSON; the charts refer to them by name."""

from __future__ import annotations

import math
from collections.abc import Iterator

from housing.dashboard.explained import houses
from housing.dashboard.model import METRICS, DashboardData, Decile, Detail, Result
from housing.dashboard.runs import Row
from housing.domain.drift import LIMIT

HISTORY = 30
"""Results in the history: more do not fit beside each other."""


def tables(data: DashboardData) -> dict[str, list[Row]]:
    """All tables of the page, by name; a table without rows has no chart.

    Args:
        data: What to show.
    """
    rows = {
        "history": list(_history(data)),
        "limits": [{"metric": name, "limit": limit} for name, limit in data.limits.items()],
        "deciles": list(_deciles(data)),
        "points": list(_points(data)),
        "cells": list(_cells(data)),
        "houses": [row for detail in data.details for row in houses(label(detail), detail)],
        "drift": list(_drift(data)),
    }
    return {name: table for name, table in rows.items() if table}


def verdict_word(result: Result) -> str:
    """``passed``, ``failed`` or ``not judged``."""
    if result.verdict is None:
        return "not judged"
    return "passed" if result.verdict.passed else "failed"


def digits_of(edge: float) -> int:
    """Digits behind the point that a place needs where squares have this edge, in degrees."""
    return max(0, 1 - math.floor(math.log10(edge)))


def label(detail: Detail) -> str:
    """How a result is called in the charts that compare results."""
    return f"{detail.result.name} ({detail.role})"


def _history(data: DashboardData) -> Iterator[Row]:
    for order, result in enumerate(data.results[-HISTORY:]):
        for metric in METRICS:
            estimate = result.metrics.get(metric)
            if estimate is None:
                continue
            yield {
                "order": order,
                "name": result.name,
                "created": f"{result.created:%Y-%m-%d %H:%M}",
                "candidate": result.candidate,
                "metric": metric,
                "value": round(estimate.value, 4),
                "low": _rounded(estimate.low, 4),
                "high": _rounded(estimate.high, 4),
                "verdict": verdict_word(result),
                "reasons": " ".join(result.verdict.reasons) if result.verdict else "",
            }


def _deciles(data: DashboardData) -> Iterator[Row]:
    for detail in data.details:
        for decile in detail.deciles:
            yield {
                "model": label(detail),
                "decile": decile.number,
                "range": f"${decile.low / 1000:,.0f}k to ${decile.high / 1000:,.0f}k",
                "rows": decile.rows,
                "rmse": round(decile.rmse),
                "gap": None if decile.gap is None else round(decile.gap),
                "against": _against(decile),
                "bias": round(decile.bias),
                "coverage": round(decile.coverage, 4),
            }


def _points(data: DashboardData) -> Iterator[Row]:
    for detail in data.details:
        for point in detail.points:
            row: Row = {
                "model": label(detail),
                "actual": round(point.actual),
                "predicted": round(point.predicted),
                "inside": "inside" if point.inside else "outside",
            }
            if point.latitude is not None and point.longitude is not None:
                row["latitude"] = round(point.latitude, digits_of(detail.edge))
                row["longitude"] = round(point.longitude, digits_of(detail.edge))
            yield row


def _cells(data: DashboardData) -> Iterator[Row]:
    for detail in data.details:
        for cell in detail.cells:
            yield {
                "model": label(detail),
                "latitude": round(cell.latitude, digits_of(detail.edge)),
                "longitude": round(cell.longitude, digits_of(detail.edge)),
                "rows": cell.rows,
                "bias": round(cell.bias),
                "rmse": round(cell.rmse),
            }


def _drift(data: DashboardData) -> Iterator[Row]:
    deliveries = data.quality.deliveries if data.quality else ()
    for delivery in deliveries:
        for column, distance in delivery.drift.items():
            yield {
                "delivery": delivery.name,
                "column": column,
                "distance": round(distance, 4),
                "state": "drifted" if distance > LIMIT else "steady",
            }


def _against(decile: Decile) -> str:
    if decile.gap is None:
        return "no common rows"
    sign = "-" if decile.gap < 0 else "+"
    return f"{sign}${abs(decile.gap):,.0f} on {decile.common:,} common rows"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)

"""What the dashboard shows, as frozen plain data: no MLflow, no HTML."""

from __future__ import annotations

from housing.dashboard.model.changes import Change, Changes
from housing.dashboard.model.dashboard_data import DashboardData
from housing.dashboard.model.detail import Cell, Decile, Detail, Point, Region
from housing.dashboard.model.incoming import Delivery, Live, Quality, ScoredFile
from housing.dashboard.model.result import METRICS, Alias, Estimate, Move, Result

__all__ = [
    "METRICS",
    "Alias",
    "Cell",
    "Change",
    "Changes",
    "DashboardData",
    "Decile",
    "Delivery",
    "Detail",
    "Estimate",
    "Live",
    "Move",
    "Point",
    "Quality",
    "Region",
    "Result",
    "ScoredFile",
]

"""The dashboard as one HTML page that needs nothing but itself: no server, no internet."""

from __future__ import annotations

from importlib import resources

import altair as alt
import vl_convert
from jinja2 import Environment

from housing.dashboard.charts import charts
from housing.dashboard.look import theme
from housing.dashboard.model import METRICS, DashboardData, Delivery, Result
from housing.dashboard.points import CELL
from housing.dashboard.rows import label, tables, verdict_word
from housing.domain.drift import LIMIT

SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What the chart library's bundle offers to the page's script."""

MINUTES_FROM = 90
"""Seconds from which a duration is told in minutes."""


def render(data: DashboardData) -> str:
    """Makes the page.

    Args:
        data: What it shows.

    Returns:
        HTML with style, scripts, chart library and data inside.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {
        "metric": _metric,
        "share": lambda value: f"{value:.1%}",
        "count": lambda value: f"{value:,}",
        "duration": _duration,
        "verdict_word": verdict_word,
    }
    rows = tables(data)
    vl_version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]  # v6.4.1: 6.4
    nominal = data.details[-1].nominal if data.details else None
    return environment.from_string(_asset("page.html")).render(
        data=data,
        metrics=METRICS,
        charts=charts(rows, nominal),
        tables=rows,
        theme=theme(),
        labels=[label(detail) for detail in data.details],
        against=lambda result: _against(data, result),
        gain=_gain,
        drifted=_drifted,
        drift_limit=LIMIT,
        cell_size=CELL,
        total_saved=sum(run.saved for run in data.runs),
        style=_asset("page.css"),
        script=_asset("page.js"),
        library=vl_convert.javascript_bundle(SNIPPET, vl_version),
    )


def _against(data: DashboardData, result: Result) -> str:
    champion = data.alias(data.champion)
    if champion is None:
        return "no champion to compare with"
    if champion.result == result:
        return "is the champion"
    # Two RMSEs are of different test rows as a rule: only the gate measures on common ones.
    return _gain(result) or "not compared with the champion on common rows"


def _gain(result: Result) -> str:
    """What the gate found on the rows that both models were scored on, and against which version.

    A result that is live and was judged again stands against itself: that tells nothing.
    """
    verdict = result.verdict
    if verdict is None or verdict.against in {None, str(result.version)}:
        return ""
    found = (check.sentence for check in verdict.checks if check.name == "gain")
    return next((f"against v{verdict.against}: {sentence}" for sentence in found), "")


def _drifted(delivery: Delivery) -> str:
    if not delivery.drift:
        return "not measured"
    names = [name for name, distance in delivery.drift.items() if distance > LIMIT]
    return ", ".join(names) or "none"


def _metric(value: float, name: str) -> str:
    if name == "r2_score":
        return f"{value:.3f}"
    if name == "mape":
        return f"{value:.1f} %"
    return f"-${-value:,.0f}" if value < 0 else f"${value:,.0f}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < MINUTES_FROM else f"{seconds / 60:.1f} min"


def _asset(name: str) -> str:
    return resources.files("housing.dashboard").joinpath("assets", name).read_text("utf-8")

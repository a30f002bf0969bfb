"""The charts of the page, as Vega-Lite specifications.

A chart names its table (see ``housing.dashboard.rows``), so that rows shared by two charts stand
on the page once. The page's controls set the parameters ``metric``, ``model`` and ``region``.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from housing.dashboard import scatter
from housing.dashboard.look import sized
from housing.dashboard.runs import Row
from housing.domain.drift import LIMIT

VERDICTS = ["passed", "failed", "not judged"]
PARTS = ["ran", "restored", "unchanged", "failed", "saved"]
METRIC_FORMAT = (
    "metric == 'r2_score' ? format(datum.value, '.3f')"
    " : metric == 'mape' ? format(datum.value, '.1f') + ' %' : format(datum.value, '$,.0f')"
)
ABOUT = {
    "history": "The chosen metric of each result, with its interval. Table: key numbers.",
    "deciles": "RMSE in each decile of the actual price, by model. Table: key numbers.",
    "coverage": "Share of prices inside their interval in each decile, by model. "
    "Table: key numbers.",
    "points": "Predicted against actual price, a dot for each of some test rows.",
    "cells": "Map of the mean residual, a dot for each square. Table of places: key numbers.",
    "drift": "Distance of each column of each delivery from the champion's table. "
    "The table of deliveries names the columns that drifted.",
    "stages": "Seconds of each stage in each run, seconds that the cache saved, and what failed.",
}
"""What a screen reader says of each chart."""


def charts(
    tables: dict[str, list[Row]], nominal: float | None, edge: float
) -> dict[str, dict[str, Any]]:
    """The specification of each chart whose table has rows, by the chart's name.

    The page's script makes the table of the stages, and as many lines as there are runs.

    Args:
        tables: Rows by table, as ``rows.tables`` makes them.
        nominal: The coverage that was asked of the prediction interval, or None without a model.
        edge: Edge of a square of the map, in degrees.
    """
    made = {}
    if "history" in tables:
        made["history"] = _history()
    if "deciles" in tables:
        models = list(dict.fromkeys(row["model"] for row in tables["deciles"]))
        made["deciles"] = _deciles(models)
        made["coverage"] = _coverage(models, nominal)
    if "points" in tables:
        made["points"] = scatter.points(tables["points"], tables.get("houses", []))
    if "cells" in tables:
        made["cells"] = scatter.cells(tables["cells"], edge)
    if "drift" in tables:
        made["drift"] = _drift(tables["drift"])
    made["stages"] = _stages()
    return {name: {**spec, "description": ABOUT[name]} for name, spec in made.items()}


def _history() -> dict[str, Any]:
    metric = alt.param(name="metric", value="rmse")
    base = (
        alt.Chart(alt.NamedData("history"))
        .transform_filter("datum.metric == metric")
        .encode(x=alt.X("name:N", sort=alt.SortField("order"), title=None, axis=_flat_labels()))
    )
    axis = alt.Axis(labelExpr=METRIC_FORMAT, title=None, tickCount=5)
    scale = alt.Scale(zero=False, padding=12)
    interval = base.mark_rule(strokeWidth=3, opacity=0.35).encode(
        y=alt.Y("low:Q", scale=scale, axis=axis), y2="high:Q", color=_verdict_color()
    )
    point = base.mark_point(size=110, filled=True, opacity=1).encode(
        y=alt.Y("value:Q", scale=scale, axis=axis),
        color=_verdict_color(),
        shape=alt.Shape(
            "verdict:N",
            scale=alt.Scale(domain=VERDICTS, range=["circle", "cross", "diamond"]),
            legend=alt.Legend(),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="Result"),
            alt.Tooltip("created:N", title="Tracked"),
            alt.Tooltip("candidate:N", title="Candidate"),
            alt.Tooltip("value:Q", title="Value", format=",.4~r"),
            alt.Tooltip("low:Q", title="Low", format=",.4~r"),
            alt.Tooltip("high:Q", title="High", format=",.4~r"),
            alt.Tooltip("verdict:N", title="Gate"),
            alt.Tooltip("reasons:N", title="Reasons"),
        ],
    )
    limit = (
        alt.Chart(alt.NamedData("limits"))
        .transform_filter("datum.metric == metric")
        .mark_rule(strokeDash=[4, 4], color="var(--fail)")
        .encode(y=alt.Y("limit:Q"), tooltip=[alt.Tooltip("limit:Q", title="Limit of the gate")])
    )
    return sized(alt.layer(limit, interval, point).add_params(metric), 260)


def _deciles(models: list[str]) -> dict[str, Any]:
    measure = alt.param(name="measure", value="rmse")
    base = (
        _by_decile(models)
        .add_params(measure)
        .transform_calculate(shown="datum[measure]")
        .encode(
            y=alt.Y(
                "shown:Q",
                title=None,
                scale=alt.Scale(zero=False, padding=10),
                axis=alt.Axis(format="$,.0f", tickCount=5),
            )
        )
    )
    return _dots_and_lines(base)


def _coverage(models: list[str], nominal: float | None) -> dict[str, Any]:
    base = _by_decile(models).encode(
        y=alt.Y(
            "coverage:Q",
            title=None,
            scale=alt.Scale(zero=False, padding=10),
            axis=alt.Axis(format=".0%", tickCount=5),
        )
    )
    rule = alt.Chart().mark_rule(strokeDash=[4, 4]).encode(y=alt.datum(nominal))
    return _dots_and_lines(base, rule)


def _by_decile(models: list[str]) -> alt.Chart:
    colors = ["var(--first)", "var(--second)", "var(--third)"]
    return alt.Chart(alt.NamedData("deciles")).encode(
        x=alt.X(
            "decile:O",
            title="Decile of the actual price, 1 = cheapest tenth",
            axis=alt.Axis(labelAngle=0),
        ),
        color=alt.Color("model:N", scale=alt.Scale(domain=models, range=colors[: len(models)])),
        tooltip=[
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("range:N", title="Actual price"),
            alt.Tooltip("rows:Q", title="Rows", format=","),
            alt.Tooltip("rmse:Q", title="RMSE", format="$,.0f"),
            alt.Tooltip("against:N", title="RMSE minus the champion's"),
            alt.Tooltip("bias:Q", title="Mean residual", format="+$,.0f"),
            alt.Tooltip("coverage:Q", title="Coverage", format=".1%"),
        ],
    )


def _dots_and_lines(base: alt.Chart, *under: alt.Chart) -> dict[str, Any]:
    lines = base.mark_line(strokeWidth=1.5, opacity=0.5)
    dots = base.mark_point(size=70, filled=True, opacity=1)
    return sized(alt.layer(*under, lines, dots), 240)


def _drift(rows: list[Row]) -> dict[str, Any]:
    columns = len({row["column"] for row in rows})
    dots = (
        alt.Chart(alt.NamedData("drift"))
        .mark_point(filled=True, size=80, opacity=0.8)
        .encode(
            x=alt.X("distance:Q", title="Distance from the champion's table", axis=_few_ticks()),
            y=alt.Y("column:N", title=None),
            color=alt.Color(
                "state:N",
                scale=alt.Scale(
                    domain=["steady", "drifted"], range=["var(--first)", "var(--fail)"]
                ),
            ),
            shape=alt.Shape(
                "state:N",
                scale=alt.Scale(domain=["steady", "drifted"], range=["circle", "diamond"]),
            ),
            tooltip=["delivery:N", "column:N", alt.Tooltip("distance:Q", format=".3f")],
        )
    )
    rule = alt.Chart().mark_rule(strokeDash=[4, 4], color="var(--fail)").encode(x=alt.datum(LIMIT))
    return sized(alt.layer(rule, dots), 26 * columns + 10)


def _stages() -> dict[str, Any]:
    base = alt.Chart(alt.NamedData("stages")).encode(
        # The rows lie in the order of the runs.
        y=alt.Y("run:N", title=None, sort=None),
        tooltip=[
            alt.Tooltip("stage:N", title="Stage"),
            alt.Tooltip("state:N", title="State"),
            alt.Tooltip("part:N", title="Part"),
            alt.Tooltip("seconds:Q", title="Seconds", format=",.1f"),
        ],
    )
    colors = ["--first", "--third", "--muted", "--fail", "--pale"]
    bars = base.mark_bar(stroke="var(--card)", strokeWidth=1).encode(
        x=alt.X("seconds:Q", title="Seconds", axis=_few_ticks(), stack="zero"),
        color=alt.Color(
            "part:N",
            scale=alt.Scale(domain=PARTS, range=[f"var({color})" for color in colors]),
        ),
        order=alt.Order("order:Q"),
    )
    # Of no size where nothing failed: a layer without rows would have no scale.
    size = alt.condition("datum.part == 'failed'", alt.value(90), alt.value(0))
    failed = base.mark_point(shape="cross", filled=True, opacity=1, color="var(--fail)").encode(
        x=alt.X("at:Q"), size=size
    )
    return sized(alt.layer(bars, failed), 38)


def _verdict_color() -> alt.Color:
    colors = ["var(--pass)", "var(--fail)", "var(--muted)"]
    return alt.Color("verdict:N", scale=alt.Scale(domain=VERDICTS, range=colors))


def _few_ticks() -> alt.Axis:
    return alt.Axis(tickCount=6)


def _flat_labels() -> alt.Axis:
    return alt.Axis(labelAngle=0, labelOverlap="parity")

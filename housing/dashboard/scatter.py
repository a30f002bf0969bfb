"""The charts of single rows: predicted against actual, and the map, which steers it."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from housing.dashboard.look import sized
from housing.dashboard.rows import digits_of
from housing.dashboard.runs import Row

MARGIN = 0.03
"""Share of the map's width that is left free on each side."""
SCALE_SHARE = 0.95
"""Share of the test rows whose square's mean residual the colours tell apart."""

IN_REGION = (
    "!region || !region.longitude || (inrange(datum.longitude, region.longitude)"
    " && inrange(datum.latitude, region.latitude))"
)


def points(rows: list[Row], explained: list[Row]) -> dict[str, Any]:
    """Predicted against actual price, of the rows in the selected region.

    The page's script explains the price of the ring that was clicked, and names it by `house`.

    Args:
        rows: Of the table `points`, at least one.
        explained: Of the table `houses`; they have a ring each.
    """
    prices = [row[side] for row in (*rows, *explained) for side in ("actual", "predicted")]
    ends = [min(prices), max(prices)]
    scale = alt.Scale(domain=ends, nice=True, zero=False)
    axis = alt.Axis(format="$,.2~s", tickCount=5)
    located = "longitude" in rows[0]
    place = {
        "x": alt.X("actual:Q", title="Actual price", scale=scale, axis=axis),
        "y": alt.Y("predicted:Q", title="Predicted price", scale=scale, axis=axis),
    }
    tooltip = [
        alt.Tooltip("actual:Q", title="Actual", format="$,.0f"),
        alt.Tooltip("predicted:Q", title="Predicted", format="$,.0f"),
        *([alt.Tooltip("latitude:Q"), alt.Tooltip("longitude:Q")] if located else []),
    ]
    dots = _shown("points", located=located).mark_circle(size=18, opacity=0.55)
    dots = dots.encode(
        **place,
        tooltip=tooltip,
        color=alt.Color(
            "inside:N",
            scale=alt.Scale(domain=["inside", "outside"], range=["var(--first)", "var(--second)"]),
            legend=alt.Legend(
                labelExpr="datum.label == 'inside' ? 'in its interval' : 'outside its interval'"
            ),
        ),
    )
    chosen = [
        alt.param(name="model", value=rows[-1]["model"]),
        alt.param(name="region", value=None),
        alt.param(name="house", value="0"),
    ]
    layers = [_diagonal(ends, scale), dots]
    if explained:
        rings = _shown("houses", located=located).mark_point(
            opacity=1, color="var(--text)", cursor="pointer", strokeWidth=1.5
        )
        size = alt.condition("datum.house == house", alt.value(220), alt.value(60))
        layers.append(rings.encode(**place, size=size, tooltip=tooltip))
    return sized(alt.layer(*layers).add_params(*chosen), 430)


def _shown(table: str, *, located: bool) -> alt.Chart:
    """The rows of the chosen model, and of the selected region where there is a map."""
    chart: alt.Chart = alt.Chart(alt.NamedData(table)).transform_filter("datum.model == model")
    return chart.transform_filter(IN_REGION) if located else chart


def _diagonal(ends: list[float], scale: alt.Scale) -> alt.Chart:
    line: alt.Chart = (
        alt.Chart()
        .mark_rule(strokeDash=[4, 4])
        .encode(
            x=alt.X(datum=ends[0], scale=scale),
            x2=alt.X2(datum=ends[1]),
            y=alt.Y(datum=ends[0], scale=scale),
            y2=alt.Y2(datum=ends[1]),
        )
    )
    return line


def cells(rows: list[Row], edge: float) -> dict[str, Any]:
    """The map: the squares draw the land, their colour is the mean residual.

    Args:
        rows: Of the table `cells`, at least one.
        edge: Edge of a square, in degrees.
    """
    east, north = _map_scales(rows, edge)
    limit = color_limit(rows)
    place = f".{digits_of(edge)}f"
    chart = (
        alt.Chart(alt.NamedData("cells"))
        .transform_filter("datum.model == model")
        .mark_circle(opacity=0.9)
        .encode(
            x=alt.X("longitude:Q", scale=east, axis=None),
            y=alt.Y("latitude:Q", scale=north, axis=None),
            size=alt.Size("rows:Q", scale=alt.Scale(range=[24, 320]), legend=None),
            color=alt.Color(
                "bias:Q",
                scale=alt.Scale(
                    domain=[-limit, 0, limit],
                    clamp=True,
                    interpolate="rgb",
                    range=["var(--low)", "var(--mid)", "var(--high)"],
                ),
                legend=alt.Legend(format="+$,~s", gradientLength=180, values=[-limit, 0, limit]),
            ),
            tooltip=[
                alt.Tooltip("rows:Q", title="Test rows"),
                alt.Tooltip("bias:Q", title="Mean residual", format="+$,.0f"),
                alt.Tooltip("rmse:Q", title="RMSE", format="$,.0f"),
                alt.Tooltip("latitude:Q", format=place),
                alt.Tooltip("longitude:Q", format=place),
            ],
        )
        .add_params(
            alt.param(name="model", value=rows[-1]["model"]),
            alt.selection_interval(name="region", encodings=["x", "y"]),
        )
    )
    return sized(chart, 460)


def color_limit(rows: list[Row]) -> float:
    """The mean residual at the ends of the colours, in dollars: a round number.

    Args:
        rows: Of the table `cells`, at least one.
    """
    ranked = sorted(rows, key=lambda row: abs(row["bias"]))
    left = SCALE_SHARE * sum(row["rows"] for row in rows)
    for row in ranked:
        left -= row["rows"]
        if left <= 0:
            break
    bound = max(abs(float(row["bias"])), 1.0)
    step = 10.0 ** math.floor(math.log10(bound))
    return float(math.ceil(bound / step) * step)


def _map_scales(rows: list[Row], edge: float) -> tuple[alt.Scale, alt.Scale]:
    """Scales of longitude and latitude that keep the land's shape at any width of the page."""
    east = [row["longitude"] for row in rows]
    north = [row["latitude"] for row in rows]
    middle_east, middle_north = (min(east) + max(east)) / 2, (min(north) + max(north)) / 2
    spans = (max(east) - min(east), max(north) - min(north))
    free = MARGIN * max(spans) + edge
    half_east, half_north = (span / 2 + free for span in spans)
    # One degree of longitude is shorter than one of latitude by the cosine of the latitude.
    shrink = math.cos(math.radians(middle_north))
    per_pixel = f"max({half_north:.6f} / height, {half_east * shrink:.6f} / width)"
    return (
        _around(middle_east, f"width * {per_pixel} / {shrink:.4f}"),
        _around(middle_north, f"height * {per_pixel}"),
    )


def _around(middle: float, half: str) -> alt.Scale:
    low, high = alt.ExprRef(f"{middle} - {half}"), alt.ExprRef(f"{middle} + {half}")
    return alt.Scale(domainMin=low, domainMax=high, nice=False, zero=False)

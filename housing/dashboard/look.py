"""The look that all charts share.

A colour is written as ``var(--name)``: the page's script puts the value of the style sheet there,
for the light or the dark theme, before it draws.
"""

from __future__ import annotations

from typing import Any

import altair as alt


def theme() -> dict[str, Any]:
    """The look that all charts share."""
    text = {"labelColor": "var(--muted)", "titleColor": "var(--muted)"}
    return {
        "background": None,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {
            **text,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelSeparation": 10,
            "gridColor": "var(--grid)",
            "domainColor": "var(--line)",
            "tickColor": "var(--line)",
        },
        "axisY": {"domain": False, "ticks": False, "labelPadding": 10},
        "legend": {
            **text,
            "labelFontSize": 12,
            "orient": "top",
            "title": None,
            "symbolOpacity": 1,
            "labelLimit": 300,
        },
        "text": {"color": "var(--text)"},
        "rule": {"color": "var(--muted)"},
    }


def sized(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int) -> dict[str, Any]:
    """The specification of a chart that is as wide as its place on the page.

    Args:
        chart: The chart.
        height: Of its plotting area, in pixels.
    """
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    return chart.properties(width="container", height=height, autosize=fit).to_dict()

"""The dashboard as one HTML page that needs nothing but itself: no server, no internet."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import altair as alt
import vl_convert
from jinja2 import Environment

from housing.dashboard.advice import advise, drifted_columns
from housing.dashboard.charts import charts
from housing.dashboard.look import theme
from housing.dashboard.model import METRICS, DashboardData, Detail, Result
from housing.dashboard.rows import digits_of, label, tables, verdict_word
from housing.dashboard.runs import block
from housing.domain.drift import LIMIT
from housing.domain.verdict import Verdict
from housing.engine.errors import typeable
from housing.engine.files import write_whole

SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What the chart library's bundle offers to the page's script."""


def render(data: DashboardData, cache: Path | None = None) -> str:
    """Makes the page.

    Args:
        data: What it shows.
        cache: Folder that keeps the chart library, which takes a second to pack, or None.

    Returns:
        HTML with style, scripts, chart library and data inside.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {
        "metric": _metric,
        "share": lambda value: f"{value:.1%}",
        "count": lambda value: f"{value:,}",
        "verdict_word": verdict_word,
        "word": _word,
    }
    rows = tables(data)
    nominal = data.details[-1].nominal if data.details else None
    edge = data.details[-1].edge if data.details else 1.0
    return environment.from_string(_asset("page.html")).render(
        data=data,
        metrics=METRICS,
        charts=charts(rows, nominal, edge),
        tables=rows,
        theme=theme(),
        labels=[label(detail) for detail in data.details],
        against=lambda result: _against(data, result),
        gain=_gain,
        drifted=_drifted,
        drift_limit=LIMIT,
        edge=f"{edge:.{digits_of(edge)}f}".rstrip("0").rstrip("."),
        advice=advise(data),
        runs=block(data.runs),
        pairs=_pairs,
        rebuild=typeable("housing dashboard"),
        explain=typeable("housing explain FILE ROW"),
        style=_asset("page.css"),
        script=_asset("page.js"),
        house=_asset("house.js"),
        library=_library(cache),
    )


def _against(data: DashboardData, result: Result) -> str:
    champion = data.alias(data.champion)
    if champion is None:
        return _gain(result) or "no champion to compare with"
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


def _drifted(drift: dict[str, float]) -> str:
    return ", ".join(drifted_columns(drift)) or "none" if drift else "not measured"


def _word(verdict: Verdict) -> str:
    return "passed" if verdict.passed else "failed"


def _pairs(details: Sequence[Detail]) -> str:
    """Says in which deciles the newest result and the champion have no test row in common."""
    missing = [str(decile.number) for decile in details[-1].deciles if decile.gap is None]
    if not missing:
        return ""
    if len(missing) == len(details[-1].deciles):
        return "No row was tested by both."
    plural = "s" if len(missing) > 1 else ""
    return f"No row of decile{plural} {', '.join(missing)} was tested by both."


def _library(cache: Path | None) -> str:
    """The chart library as one script."""
    vl_version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]  # v6.4.1: 6.4
    if cache is None:
        return _packed(vl_version)
    file = cache / f"vega-{version('vl-convert-python')}-{vl_version}.js"
    if not file.exists():
        write_whole(file, _packed(vl_version))
    return file.read_text(encoding="utf-8")


@functools.cache
def _packed(vl_version: str) -> str:
    return str(vl_convert.javascript_bundle(SNIPPET, vl_version))


def _metric(value: float, name: str) -> str:
    if name == "r2_score":
        return f"{value:.3f}"
    if name == "mape":
        return f"{value:.1f} %"
    return f"-${-value:,.0f}" if value < 0 else f"${value:,.0f}"


def _asset(name: str) -> str:
    return resources.files("housing.dashboard").joinpath("assets", name).read_text("utf-8")

"""The page, drawn in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from selenium import webdriver
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.ui import WebDriverWait

from housing.dashboard import points
from housing.dashboard.charts import ABOUT
from housing.dashboard.model import (
    Alias,
    DashboardData,
    Delivery,
    Detail,
    Estimate,
    Move,
    PipelineRun,
    Quality,
    Region,
    Result,
    StageBar,
)
from housing.dashboard.page import render
from housing.domain.gate import Check, Verdict
from tests.browser import CHROMIUM, DRIVER, chromium, show

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
EVIL = "</script><script>window.evil = true</script>"

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver


def predictions(shift: float, *, located: bool) -> pl.DataFrame:
    rows = 500
    table = pl.DataFrame(
        {
            "_row": [f"{(row * 7919) % 65536:04x}" for row in range(rows)],
            "latitude": [33 + (row % 50) / 6 for row in range(rows)],
            "longitude": [-123 + (row % 37) / 5 for row in range(rows)],
            "actual": [50_000.0 + 900 * row for row in range(rows)],
        }
    ).with_columns(predicted=pl.col("actual") * 0.9 + 20_000 + shift)
    table = table.with_columns(lower=pl.col("predicted") - 9e3, upper=pl.col("predicted") + 9e3)
    return table if located else table.drop("latitude", "longitude")


def detail(result: Result, role: str, shift: float, *, located: bool = True) -> Detail:
    """A result that was tested on the champion's rows."""
    table = predictions(shift, located=located)
    champion = predictions(0, located=located)
    return Detail(
        result,
        role,
        len(table),
        points.sample(table),
        points.cells(table),
        points.deciles(table, champion),
        (Region("san_jose", 500, 9_000, -5_000),) if located else (),
        points.coverage(table),
        nominal=0.9,
        halfwidth=9_000,
    )


def result(number: int, verdict: Verdict | None) -> Result:
    rmse = 45_000.0 - 500 * number
    metrics = {
        "rmse": Estimate(rmse, rmse - 2_000, rmse + 2_000),
        "mae": Estimate(30_000),
        "r2_score": Estimate(0.84, 0.82, 0.86),
        "mape": Estimate(17.5, 16, 19),
    }
    made = NOW - timedelta(days=9 - number)
    return Result(f"v{number}", f"run{number}", made, "xgboost", number, metrics, verdict)


def check(name: str, sentence: str, *, passed: bool) -> Check:
    return Check(name=name, passed=passed, value=None, limit=None, sentence=sentence)


def full() -> DashboardData:
    checks = (
        check("rmse", "RMSE $44,000 is fine.", passed=True),
        check("slices", EVIL, passed=False),
    )
    first = result(1, Verdict(result="1", run_id="run1", passed=True))
    second = result(2, Verdict(result="2", run_id="run2", passed=False, checks=checks))
    run = PipelineRun(
        "scheduled__1",
        NOW,
        "success",
        (StageBar("ingest_data", "ran", 3, 0), StageBar("track_model", "unchanged", 0.1, 9)),
    )
    deliveries = (
        Delivery("first.csv", 400, {"MedInc": 0.01}),
        Delivery("second.csv", 100, {"MedInc": 0.4}),
    )
    return DashboardData(
        "housing-price",
        NOW,
        {"rmse": 50_000, "r2_score": 0.75},
        "staging",
        "champion",
        results=(first, second),
        aliases=(Alias("champion", first, NOW),),
        details=(detail(first, "champion", 0), detail(second, "newest", 5_000)),
        moves=(Move(NOW, "staging", "none", "v1", "airflow", "passed the gate"),),
        quality=Quality(500, 490, 8, 2, {"MedInc is null": 8}, deliveries),
        runs=(run,),
    )


def empty() -> DashboardData:
    return DashboardData("housing-price", NOW, {"rmse": 50_000}, "staging", "champion")


def judged(*checks: Check, against: str = "1") -> DashboardData:
    """The newest result has the lower RMSE, and a verdict with these checks."""
    data = full()
    verdict = Verdict(result="2", run_id="run2", passed=True, against=against, checks=checks)
    newest = replace(data.results[-1], verdict=verdict)
    return replace(data, results=(data.results[0], newest))


def single() -> DashboardData:
    """One version, no champion, no location columns, no verdict, no run of the DAG."""
    only = result(1, None)
    quality = Quality(500, 500, 0, 0, {}, (Delivery("first.csv", 500, {}),))
    details = (detail(only, "newest", 0, located=False),)
    return replace(empty(), results=(only,), details=details, quality=quality)


@cache
def html_of(data: Callable[[], DashboardData]) -> str:
    return render(data())


def opened(
    browser: webdriver.Chrome,
    folder: Path,
    data: Callable[[], DashboardData],
    *,
    width: int = 1200,
    scheme: str = "light",
) -> str:
    """Opens the page and waits until it is drawn."""
    page = folder / "index.html"
    page.write_text(html_of(data), encoding="utf-8")
    browser.get_log("browser")  # type: ignore[no-untyped-call]  # forgets what came before
    show(browser, page, width=width, scheme=scheme)
    return html_of(data)


def marks(browser: webdriver.Chrome) -> dict[str, int]:
    """How many marks each chart shows, without axes and legends."""
    script = """
        const count = (item) => (item.items || []).reduce(
            (sum, child) => sum + (child.items ? count(child) : item.role === "mark" ? 1 : 0), 0);
        return Object.fromEntries([...window.dashboardViews].map(
            ([name, view]) => [name, count(view.scenegraph().root)]));
    """
    found: dict[str, int] = browser.execute_script(script)
    return found


def complaints(browser: webdriver.Chrome) -> list[Any]:
    return list(browser.get_log("browser"))  # type: ignore[no-untyped-call]  # selenium's own


def overflow(browser: webdriver.Chrome) -> int:
    script = "return document.documentElement.scrollWidth - window.innerWidth"
    return int(browser.execute_script(script))


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light")])
def test_every_chart_has_marks_at_every_width_and_theme(
    browser: webdriver.Chrome, tmp_path: Path, width: int, scheme: str
) -> None:
    html = opened(browser, tmp_path, full, width=width, scheme=scheme)
    assert complaints(browser) == []
    names = {"history", "deciles", "coverage", "cells", "points", "drift", "stages"}
    shown = marks(browser)
    assert shown.keys() == names
    assert min(shown.values()) > 0, shown
    for chart in browser.find_elements("css selector", ".chart"):
        assert chart.get_attribute("aria-label") == ABOUT[chart.get_attribute("id") or ""]
    assert overflow(browser) <= 0
    assert len(html.encode()) < 3_000_000
    asked = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert browser.execute_script(asked) == []  # the page needs no server
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 20, 19)" if scheme == "dark" else "rgb(246, 246, 244)")


@needs_browser
@pytest.mark.parametrize(
    ("data", "names"), [(empty, set()), (single, {"history", "deciles", "coverage", "points"})]
)
def test_page_is_whole_when_there_is_little_to_show(
    browser: webdriver.Chrome, tmp_path: Path, data: Callable[[], DashboardData], names: set[str]
) -> None:
    opened(browser, tmp_path, data, width=390)
    assert complaints(browser) == []
    assert marks(browser).keys() == names
    assert "No model was made champion yet" in browser.find_element("tag name", "main").text
    assert overflow(browser) <= 0


def test_two_results_are_compared_by_the_gate_alone() -> None:
    loss = "RMSE rises by $35 on 300 common rows"
    page = render(judged(check("gain", loss, passed=False)))
    assert f'gate: <span class="passed">✓ passed</span>, against v1: {loss}' in page
    assert f"The gate found against v1: {loss}." in page
    assert " than the champion" not in page


def test_without_a_comparison_by_the_gate_there_is_no_verdict() -> None:
    itself = judged(check("gain", "RMSE falls by $0", passed=True), against="2")
    for data in (full(), judged(check("rmse", "RMSE is fine", passed=True)), itself):
        page = render(data)
        assert ", not compared with the champion on common rows</p>" in page
        assert "The gate found" not in page


@needs_browser
def test_controls_steer_the_charts(browser: webdriver.Chrome, tmp_path: Path) -> None:
    opened(browser, tmp_path, full)
    asked = "return window.dashboardViews.get(arguments[0]).data('points')"
    Select(browser.find_element("css selector", "select[name=model]")).select_by_value(
        "v1 (champion)"
    )
    signal = "return window.dashboardViews.get(arguments[0]).signal(arguments[1])"
    assert browser.execute_script(signal, "cells", "model") == "v1 (champion)"
    assert browser.execute_script(signal, "points", "model") == "v1 (champion)"
    assert len(browser.execute_script(asked, "points")) == 1000  # both models' samples are there

    assert browser.execute_script(signal, "deciles", "measure") == "gap"
    Select(browser.find_element("css selector", "select[name=measure]")).select_by_value("rmse")
    assert browser.execute_script(signal, "deciles", "measure") == "rmse"

    before = marks(browser)["points"]
    browser.execute_script("""
        const box = document.querySelector("#cells").getBoundingClientRect();
        window.scrollTo(0, box.top + window.scrollY - 100);
    """)
    chart = browser.find_element("css selector", "#cells svg")
    mouse = webdriver.ActionChains(browser)
    mouse.move_to_element_with_offset(chart, -60, -60).click_and_hold().move_by_offset(90, 90)
    mouse.release().perform()
    WebDriverWait(browser, 10).until(lambda _: 0 < marks(browser)["points"] < before)
    assert "selected region" in browser.find_element("id", "region").text


@needs_browser
def test_text_from_mlflow_is_text(browser: webdriver.Chrome, tmp_path: Path) -> None:
    opened(browser, tmp_path, full)
    assert browser.execute_script("return window.evil") is None
    assert EVIL in browser.find_element("tag name", "main").text

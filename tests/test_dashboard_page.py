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

from housing.dashboard import page_file, points
from housing.dashboard.advice import advise
from housing.dashboard.charts import ABOUT
from housing.dashboard.model import (
    Alias,
    Change,
    Changes,
    DashboardData,
    Delivery,
    Detail,
    Estimate,
    Live,
    Move,
    Quality,
    Region,
    Result,
    ScoredFile,
)
from housing.dashboard.page import render
from housing.dashboard.runs import Row, add_quiet_run, shown, takes_quiet_run
from housing.dashboard.scatter import color_limit
from housing.domain.explained_rows import ExplainedRow, Kind
from housing.domain.explanation import Comparable, Contribution, Explanation
from housing.domain.verdict import Check, Verdict
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
        points.cells(table, 0.2),
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


def explained(kind: Kind, actual: float, prediction: float) -> ExplainedRow:
    """A test row with a column of each kind, and one similar house."""
    parts = [("income", 30_000.0), ("location", -5_000.0), *((f"c{n}", 10.0) for n in range(12))]
    similar = {"income": 7.98, "rooms": None}
    return ExplainedRow(
        kind=kind,
        actual=actual,
        latitude=34,
        longitude=-120,
        columns={"income": 8.123456, "rooms": None, "style": EVIL},
        explanation=Explanation(
            prediction=prediction,
            lower=prediction - 9_000,
            upper=prediction + 9_000,
            base=200_000,
            contributions=tuple(Contribution(name=n, dollars=d) for n, d in parts),
            comparables=(Comparable(price=98_000, km=1.26, columns=similar),),
        ),
    )


def full() -> DashboardData:
    checks = (
        check("rmse", "RMSE $44,000 is fine.", passed=True),
        check("slices", EVIL, passed=False),
    )
    first = result(1, Verdict(result="1", run_id="run1", passed=True))
    second = result(2, Verdict(result="2", run_id="run2", passed=False, checks=checks))
    runs = (
        shown(summary("quick__3", 2, ("failed", 0, 0), ("upstream_failed", 0, 0), message=EVIL)),
        shown(summary("scheduled__1", 1, ("ran", 3, 0), ("unchanged", 0.1, 9))),
    )
    houses = (explained("miss", 100_000, 400_000), explained("spread", 300_000, 290_000))
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
        details=(
            detail(first, "champion", 0),
            replace(detail(second, "newest", 5_000), explained=houses),
        ),
        moves=(Move(NOW, "staging", "none", "v1", "airflow", "passed the gate"),),
        quality=Quality(500, 490, 8, 2, {"MedInc is null": 8}, deliveries),
        runs=runs,
        live=Live((ScoredFile("june.csv", NOW, 200, 30, {"MedInc": 0.7}),), usual=0.016),
        changes=Changes(
            "v1",
            "v2",
            ("linear", "xgboost"),
            params=(Change("train.max_depth", "6", "8"),),
            data=(),
            code=tuple(Change(f"housing/{n}.py", "aa", "bb") for n in range(14)),
            revisions=("aaaaaaaaaaaa", "bbbbbbbbbbbb+"),
            features=(Change("rooms_per_person", "", "there"),),
        ),
    )


def summary(name: str, hour: int, *stages: tuple[str, float, float], message: str = "") -> Row:
    """What the last task of a run leaves; with a message the first stage failed."""
    lines = zip(("ingest_data", "track_model"), stages, strict=True)
    return {
        "run_id": name,
        "ended": f"2026-05-01T{hour:02}:00:00+00:00",
        "state": "failed" if message else "success",
        "link": f"http://localhost:8080/dags/d/runs/{name}",
        "verdict": None,
        "stages": [
            {"stage": stage, "state": state, "seconds": seconds, "saved_seconds": saved}
            for stage, (state, seconds, saved) in lines
        ],
        "failures": {"stages.ingest_data": message} if message else {},
    }


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
    ("data", "names"),
    [(empty, set()), (single, {"history", "deciles", "coverage", "points"})],
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
def test_the_price_of_the_chosen_house_is_explained(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    opened(browser, tmp_path, full)

    def told(name: str) -> str:
        return browser.find_element("id", f"house-{name}").text

    assert told("told").startswith("It cost $100,000. The model says $400,000, between $391,000")
    assert "$300,000 too high. On average it says $200,000" in told("told")
    lines = told("added").splitlines()
    assert lines[:2] == ["income 8.1235 +$30,000", "location -$5,000"]
    assert lines[-2:] == ["4 others +$40", "the model's price $400,000"]
    assert told("names") == "House Price Away, km income rooms"
    assert told("similar").splitlines() == ["this $100,000 8.1235", "1 $98,000 1.3 7.98"]
    choice = Select(browser.find_element("name", "house"))
    choice.select_by_visible_text("cost $300,000, priced $290,000")
    assert "$10,000 too low" in told("told")

    place = """
        const view = window.dashboardViews.get("points");
        const [x, y] = [view.scale("x")(100000), view.scale("y")(400000)];
        const box = document.querySelector("#points canvas").getBoundingClientRect();
        window.scrollTo(0, box.top + window.scrollY - 100);
        const [[left, top], free] = [view.origin(), view.padding()];
        return [x + left + free.left - box.width / 2, y + top + free.top - box.height / 2];
    """
    right, down = browser.execute_script(place)
    chart = browser.find_element("css selector", "#points canvas")
    mouse = webdriver.ActionChains(browser)
    mouse.move_to_element_with_offset(chart, round(right), round(down)).click().perform()
    assert "$300,000 too high" in told("told")
    assert choice.first_selected_option.text == "cost $100,000, priced $400,000"

    Select(browser.find_element("name", "model")).select_by_value("v1 (champion)")
    assert told("told") == "This result was made before prices were explained."
    assert not browser.find_element("id", "house-parts").is_displayed()


@needs_browser
def test_a_run_that_failed_at_once_shows_with_its_words(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    opened(browser, tmp_path, full)
    tile = browser.find_element("id", "last-run").text
    assert "failed" in tile
    assert "0 of 2 stages from the cache" in tile
    assert "0 s saved, 9 s over 2 runs" in tile
    (line,) = browser.find_elements("css selector", "#failures li")
    assert line.text == f"stages.ingest_data failed, run quick__3: {EVIL} log"
    log = "http://localhost:8080/dags/d/runs/quick__3/tasks/stages.ingest_data"
    assert line.find_element("tag name", "a").get_attribute("href") == log
    lines = "return window.dashboardViews.get('stages').scale('y').domain()"
    assert browser.execute_script(lines) == ["05-01, 02:00:00 (failed)", "05-01, 01:00:00"]


@needs_browser
def test_one_run_is_no_runs(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(render(replace(empty(), runs=full().runs[1:])), encoding="utf-8")
    show(browser, page, width=390)
    assert "9 s saved Airflow run" in browser.find_element("id", "last-run").text


@needs_browser
def test_on_a_phone_every_version_keeps_its_label(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    results = tuple(result(number % 9 + 1, None) for number in range(9))
    many = [replace(one, name=f"v{number}") for number, one in enumerate(results * 3)]
    page = tmp_path / "index.html"
    page.write_text(render(replace(full(), results=tuple(many))), encoding="utf-8")
    show(browser, page, width=390)
    labels = browser.find_elements("css selector", "#history .role-axis-label text")
    seen = {label.text for label in labels if label.value_of_css_property("opacity") != "0"}
    assert {f"v{number}" for number in range(27)} <= seen
    assert overflow(browser) <= 0


def a_page(root: Path) -> Path:
    """The place of a project's page."""
    page = page_file(root)
    page.parent.mkdir(parents=True)
    return page


def test_a_run_with_nothing_to_do_is_put_onto_the_page_that_is_there(tmp_path: Path) -> None:
    quiet = summary("quiet__2", 3, ("unchanged", 0.1, 3), ("unchanged", 0.1, 9))
    assert not takes_quiet_run(tmp_path, "quiet__2")  # no page yet
    assert not add_quiet_run(tmp_path, quiet)
    page = a_page(tmp_path)
    good = replace(full(), runs=full().runs[1:])
    page.write_text(render(good), encoding="utf-8")
    assert takes_quiet_run(tmp_path, "quiet__2")
    assert add_quiet_run(tmp_path, quiet)
    assert add_quiet_run(tmp_path, quiet)  # cleared, and done again
    expected = render(replace(good, runs=(shown(quiet), *good.runs)))
    assert page.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    ("run", "before"),
    [
        (summary("ran__2", 3, ("ran", 1, 0), ("unchanged", 0, 0)), 1),
        (summary("failed__2", 3, ("failed", 1, 0), ("unchanged", 0, 0), message="broken"), 1),
        (summary("quiet__2", 3, ("unchanged", 0, 0), ("unchanged", 0, 0)), 0),
        (
            {
                **summary("judged__2", 3, ("unchanged", 0, 0), ("unchanged", 0, 0)),
                "verdict": {"unchanged": False, "passed": False},
            },
            1,
        ),
    ],
    ids=["a stage ran", "a task failed", "the run before failed", "the gate judged"],
)
def test_what_changes_more_than_a_line_makes_the_page_anew(
    tmp_path: Path, run: Row, before: int
) -> None:
    page = a_page(tmp_path)
    text = render(replace(full(), runs=full().runs[before:]))
    page.write_text(text, encoding="utf-8")
    assert not add_quiet_run(tmp_path, run)
    assert page.read_text(encoding="utf-8") == text


def test_the_page_answers_whether_the_live_model_is_fine_and_what_changed() -> None:
    page = html_of(full)
    assert "200 rows in 1 file: 30 without a price (15.0%; 1.6% of its training rows" in page
    assert "What changed from v1 to v2" in page
    assert "the same data; candidate linear to xgboost; 1 parameter" in page
    assert "1 parameter, 1 feature and 14 files of code differ" in page
    assert "<td>train.max_depth</td><td>6</td><td>8</td>" in page
    assert "and 2 more" in page


def test_the_verdict_is_that_of_the_promotion_with_later_ones_beside_it() -> None:
    high = check("rmse", "RMSE high", passed=False)
    bad = Verdict(result="1", run_id="1", passed=False, checks=(high,))
    first = replace(full().results[0], later=bad, withdrawn="rolled back by ann: odd prices")
    page = render(replace(full(), aliases=(Alias("champion", first, NOW),), results=(first,)))
    said = '✓ passed</span>; judged again later: <span class="failed">✗ failed</span> (RMSE high)'
    assert said in page
    assert "withdrawn</span>: rolled back by ann: odd prices" in page


def test_a_result_with_overrides_says_so_and_why_it_is_not_in_staging() -> None:
    kept = replace(result(2, None), overrides=("train.eta=0.1",), kept_back="nobody asked for it")
    page = render(replace(full(), results=(kept,)))
    assert "made with overrides: train.eta=0.1; not in staging: nobody asked for it" in page


def test_the_gate_compared_two_versions_where_there_is_no_champion() -> None:
    data = judged(check("gain", "RMSE falls by $900", passed=True))
    page = render(replace(data, aliases=()))
    assert "against v1: RMSE falls by $900" in page
    assert "no champion to compare with" not in page


def test_deciles_without_common_rows_are_named() -> None:
    data = full()
    alone = [replace(one, gap=None, common=0) for one in data.details[1].deciles[:2]]
    newest = replace(data.details[1], deciles=(*alone, *data.details[1].deciles[2:]))
    page = render(replace(data, details=(data.details[0], newest)))
    assert "No row of deciles 1, 2 was tested by both." in page


@pytest.mark.parametrize(
    ("wide", "edge", "rows"), [(10.0, 0.2, 50), (0.2, 0.005, 40), (0.0, 1e-05, 1)]
)
def test_the_squares_of_the_map_follow_the_land(wide: float, edge: float, rows: int) -> None:
    places = [wide * share / 400 for share in range(401)]
    table = pl.DataFrame(
        {
            "latitude": [47.0] * 401,
            "longitude": [-122 + place for place in places],
            "actual": 2.0,
            "predicted": 1.0,
        }
    )
    assert points.edge([table, table.drop("latitude")]) == pytest.approx(edge)
    assert len(points.cells(table, edge)) == pytest.approx(rows, abs=1)


@pytest.mark.parametrize(("biases", "limit"), [([9, -41, 7], 50), ([0, 0], 1), ([81_000], 90_000)])
def test_the_colours_of_the_map_follow_the_errors(biases: list[int], limit: float) -> None:
    assert color_limit([{"bias": bias, "rows": 1} for bias in biases]) == limit


def told(**changes: Any) -> str:  # noqa: ANN401  # any field of the data
    """The advice where all is well but for these changes."""
    first = result(1, Verdict(result="1", run_id="run1", passed=True))
    well = replace(
        full(),
        results=(first,),
        aliases=(Alias("champion", first, NOW), Alias("staging", first, NOW)),
        runs=full().runs[1:],
        live=None,
        quality=None,
    )
    return advise(replace(well, **changes)).text


def test_there_is_one_line_of_advice() -> None:
    assert told() == "nothing"
    assert (
        told(runs=full().runs)
        == f"look at stages.ingest_data, which failed in the last run: {EVIL}"
    )
    assert (
        told(live=full().live) == "look at the scored file june.csv: 15.0% of its rows got no price"
    )
    assert told(quality=full().quality) == "look at the delivery second.csv: MedInc drifted"
    broken = summary("quick__4", 4, ("failed", 0, 0), ("ran", 0, 0), message="no x\n  next: mend x")
    assert told(runs=(shown(broken),)).endswith("failed in the last run: no x; next: mend x")
    assert told(results=(), aliases=(), runs=()).startswith("start the pipeline")


def test_the_advice_on_a_rejection_says_by_how_much() -> None:
    failed = Check(name="rmse", passed=False, value=52_104.0, limit=50_000, sentence="RMSE is high")
    bad = result(2, Verdict(result="2", run_id="run2", passed=False, checks=(failed,)))
    assert told(results=(bad,)) == "look at v2: the limit rmse failed by $2,104: RMSE is high"
    assert told(results=(replace(bad, overrides=("train.eta=1",)),)) == "nothing"
    assert told(results=(replace(bad, withdrawn="rolled back by ann"),)) == "nothing"


def test_a_version_waits_until_a_person_has_decided() -> None:
    second = result(2, Verdict(result="2", run_id="run2", passed=True))
    first = result(1, None)
    later = NOW + timedelta(hours=1)

    def asked(staging: Result, champion_since: datetime = NOW) -> str:
        champion = Alias("champion", first, champion_since)
        return told(aliases=(champion, Alias("staging", staging, later)))

    assert asked(second).startswith("approve or reject v2: it passed the gate")
    assert asked(replace(second, withdrawn="rolled back by ann")) == "nothing"
    assert asked(replace(second, declined="declined by ann")) == "nothing"
    assert asked(second, later + timedelta(hours=1)) == "nothing"


@needs_browser
def test_text_from_mlflow_is_text(browser: webdriver.Chrome, tmp_path: Path) -> None:
    opened(browser, tmp_path, full)
    assert browser.execute_script("return window.evil") is None
    assert EVIL in browser.find_element("tag name", "main").text

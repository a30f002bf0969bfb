"""What the dashboard reads from a real MLflow store, and what it puts there."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from housing.cli.aliases import follow_move
from housing.cli.app import app
from housing.cli.console import console_of
from housing.dashboard import page_file
from housing.dashboard.changes import code_hashes
from housing.dashboard.data import collect
from housing.dashboard.history import record_runs
from housing.dashboard.model import Change, DashboardData, Region
from housing.dashboard.points import deciles
from housing.dashboard.runs import block
from housing.dashboard.update import update
from housing.domain.config import Params, load_params
from housing.domain.data.quality import describe
from housing.domain.drift import LIMIT, drift
from housing.domain.explained_rows import ExplainedRow
from housing.domain.explanation import Contribution, Explanation
from housing.domain.scoring import Scores
from housing.domain.verdict import Check, Verdict
from housing.mlops.registry import decline
from housing.mlops.registry.journal import Entry, close_entry, journal_id, open_entry
from housing.mlops.scored_files import track
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.tracked_run import experiment_id
from housing.settings import Settings, load_settings
from tests.mlflow_server import new_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAMS = Path(__file__).parent / "params.yaml"
HOUSES = pl.DataFrame(
    {
        "MedInc": [1.0 + row % 17 for row in range(300)],
        "kind": ["flat" if row % 3 else "house" for row in range(300)],
    }
)
PREDICTIONS = pl.DataFrame(
    {
        "_row": [f"{(row * 7919) % 65536:04x}" for row in range(300)],
        "latitude": [33 + (row % 50) / 6 for row in range(300)],
        "longitude": [-123 + (row % 37) / 5 for row in range(300)],
        "actual": [50_000.0 + 900 * row for row in range(300)],
        "predicted": [60_000.0 + 900 * row for row in range(300)],
        "lower": [40_000.0 + 900 * row for row in range(300)],
        "upper": [80_000.0 + 900 * row for row in range(300)],
    }
)
EXPLAINED = ExplainedRow(
    kind="miss",
    actual=400_000,
    latitude=None,
    longitude=None,
    columns={"MedInc": 3.5, "kind": None},
    explanation=Explanation(
        prediction=300_000,
        lower=250_000,
        upper=350_000,
        base=200_000,
        contributions=(Contribution(name="MedInc", dollars=100_000),),
        comparables=(),
    ),
)


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(PARAMS)


def own_store(root: Path) -> Settings:
    return load_settings(root).model_copy(update={"tracking_uri": ""})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    new_store(tmp_path / ".mlflow" / "mlflow.db")
    return own_store(tmp_path)


@pytest.fixture
def client(settings: Settings) -> Iterator[MlflowClient]:
    with connected(settings) as client:
        yield client


def log_result(client: MlflowClient, settings: Settings, number: int, houses: pl.DataFrame) -> str:
    """One run as the tracking logs it, as far as the dashboard reads it."""
    experiment = experiment_id(client, settings.experiment, settings.artifact_location)
    tags = {
        "housing.result": f"{number:016x}",
        "housing.candidate": "xgboost",
        "housing.complete": "true",
    }
    run = client.create_run(experiment, start_time=1_700_000_000_000 + number, tags=tags)
    run_id = str(run.info.run_id)
    for name, value in {"rmse": 45_000 - number, "mae": 30_000, "r2_score": 0.8}.items():
        client.log_metric(run_id, f"test_{name}", value)
    client.log_metric(run_id, "test_rmse_low", 43_000)
    client.log_metric(run_id, "test_rmse_high", 47_000)
    quality = {
        "rows_in": 310,
        "rows_kept": 300,
        "rows_quarantined": 8,
        "rows_duplicate": 2,
        "reasons": {"MedInc is null": 8},
        "files": {"first.csv": {"rows": 310, "columns": describe(houses)}},
        "columns": describe(houses),
    }
    client.log_dict(run_id, quality, "reports/data_quality.json")
    region = {"region": "san_jose", "rows": 300, "rmse": 10_000, "mean": -10_000}
    report = {
        "prediction_interval": {"nominal": 0.9, "halfwidth": 20_000},
        "residuals": {"by_region": [region]},
    }
    client.log_dict(run_id, report, "reports/evaluation_report.json")
    file = settings.root / "predictions.parquet"
    PREDICTIONS.write_parquet(file)
    client.log_artifact(run_id, str(file), "reports")
    return run_id


def register(client: MlflowClient, settings: Settings, params: Params, run_id: str) -> str:
    model = params.registry.model
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    source = (settings.root / "model").as_uri()
    return str(client.create_model_version(model, source, run_id=run_id).version)


def move(client: MlflowClient, settings: Settings, params: Params, alias: str, to: str) -> None:
    """An alias move with its entry in the journal."""
    entry = Entry(
        model=params.registry.model,
        alias=alias,
        kind="promote",
        from_version=None,
        to_version=to,
        who="airflow",
        why="passed the gate",
        data_time=0,
        evidence={},
    )
    opened = open_entry(client, journal_id(client, settings), entry)
    client.set_registered_model_alias(params.registry.model, alias, to)
    close_entry(client, opened, "done")


def summary(run_id: str, state: str = "success", at: str = "") -> dict[str, Any]:
    stages = [
        {"stage": "ingest_data", "state": "unchanged", "seconds": 0.1, "saved_seconds": 4.0},
        {"stage": "train_model@linear", "state": "ran", "seconds": 2.0, "saved_seconds": 0.0},
    ]
    return {
        "run_id": run_id,
        "ended": at or f"2026-05-01T12:00:0{run_id[-1]}+00:00",
        "state": state,
        "saved_minutes": 0.07,
        "stages": stages,
    }


def write_summary(settings: Settings, content: dict[str, Any]) -> Path:
    file = settings.root / ".housing" / "runs" / f"{content['run_id']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_an_empty_store_gives_an_empty_page(
    client: MlflowClient, settings: Settings, params: Params
) -> None:
    data = collect(client, settings, params)
    assert (data.results, data.aliases, data.details) == ((), (), ())
    assert (data.quality, data.newest, data.runs, data.moves) == (None, None, (), ())
    assert data.limits == {"rmse": params.gate.max_rmse, "r2_score": params.gate.min_r2}


def test_champion_and_challenger_are_read_from_mlflow(
    client: MlflowClient, settings: Settings, params: Params
) -> None:
    first = log_result(client, settings, 1, HOUSES)
    champion = register(client, settings, params, first)
    for alias in ("staging", "champion"):
        move(client, settings, params, alias, champion)
    richer = HOUSES.with_columns(pl.col("MedInc") + 5)
    second = log_result(client, settings, 2, richer)
    client.log_text(first, '[{"format": "of another day"}]', "reports/explanations.json")
    client.log_text(second, f"[{EXPLAINED.model_dump_json()}]", "reports/explanations.json")
    checks = (Check(name="rmse", passed=False, value=1, limit=2, sentence="RMSE is too high."),)
    verdict = Verdict(result="2", run_id=second, passed=False, checks=checks)
    client.set_tag(second, "housing.verdict", verdict.model_dump_json())

    data = collect(client, settings, params)
    assert [result.name for result in data.results] == ["v1", "000000"]
    assert [(alias.name, alias.result.name) for alias in data.aliases] == [
        ("champion", "v1"),
        ("staging", "v1"),
    ]
    assert data.results[0].metrics["rmse"].low == 43_000
    assert data.results[0].verdict is None
    assert data.newest is not None
    assert data.newest.verdict == verdict
    assert [(detail.result.run_id, detail.role) for detail in data.details] == [
        (first, "champion, staging"),
        (second, "newest"),
    ]
    assert data.details[0].coverage == 1
    assert [detail.explained for detail in data.details] == [(), (EXPLAINED,)]
    assert data.details[0].regions == (Region("san_jose", 300, 10_000, -10_000),)
    gaps = [(decile.common, decile.gap) for decile in data.details[1].deciles]
    assert gaps == [(30, 0)] * 10  # both runs hold the same predictions
    assert {(entry.alias, entry.before, entry.after) for entry in data.moves} == {
        ("champion", "none", "v1"),
        ("staging", "none", "v1"),
    }
    assert data.quality is not None
    assert data.quality.deliveries[0].drift["MedInc"] > LIMIT
    assert data.quality.deliveries[0].drift["kind"] == 0


def test_what_people_decided_and_what_was_scored_stands_beside_the_results(
    client: MlflowClient, settings: Settings, params: Params
) -> None:
    model = params.registry.model
    first = log_result(client, settings, 1, HOUSES)
    version = register(client, settings, params, first)
    move(client, settings, params, "champion", version)
    good = Verdict(result="1", run_id=first, passed=True)
    client.set_model_version_tag(model, version, "housing.verdict", good.model_dump_json())
    later = good.model_copy(update={"passed": False})
    client.set_tag(first, "housing.verdict", later.model_dump_json())
    rollback_tag = "rolled back by ann: odd prices"
    client.set_model_version_tag(model, version, "housing.withdrawn", rollback_tag)
    decline(settings, params, version, "bob", "not in May")
    second = log_result(client, settings, 2, HOUSES.head(200))
    client.set_tag(second, "housing.overrides", "train.seed=8")
    client.set_tag(second, "housing.verdict", good.model_dump_json())
    for run_id, depth in ((first, "6"), (second, "8")):
        client.log_param(run_id, "train.max_depth", depth)
    scores = Scores(
        file="june.csv",
        source="0" * 32,
        version=version,
        run_id=first,
        rows=50,
        scored=40,
        quarantined=10,
        seconds=1,
        reasons={},
        columns={},
    )
    track(client, settings, scores, {"MedInc": 0.7})

    data = collect(client, settings, params)
    champion, newest = data.results
    assert (champion.verdict, champion.later) == (good, later)
    assert champion.withdrawn == rollback_tag
    assert champion.declined == "declined by bob: not in May"
    assert newest.overrides == ("train.seed=8",)
    assert newest.kept_back == "its run did not ask for the promotion of a model with overrides"
    assert data.live is not None
    (file,) = data.live.files
    assert (file.name, file.rows, file.quarantined) == ("june.csv", 50, 10)
    assert file.drift == {"MedInc": 0.7}
    assert data.live.usual == pytest.approx(8 / 310)
    assert data.changes is not None
    assert data.changes.params == (Change("train.max_depth", "6", "8"),)
    assert (data.changes.before, data.changes.after) == ("v1", "000000")


def test_code_differs_by_the_hashes_that_dvc_recorded() -> None:
    deps = "[{path: a.py, md5: aaaaaaaa}, {path: data, md5: ff}]"
    lock = f"stages: {{a: {{cmd: python a.py, deps: {deps}}}}}"
    assert code_hashes(lock) == {"a.py": "aaaaaa"}
    assert code_hashes(None) == code_hashes("stages: {") == {}


def test_a_version_without_champion_has_no_drift(
    client: MlflowClient, settings: Settings, params: Params
) -> None:
    log_result(client, settings, 1, HOUSES)
    data = collect(client, settings, params)
    assert [detail.role for detail in data.details] == ["newest"]
    assert {decile.gap for decile in data.details[0].deciles} == {None}
    assert data.quality is not None
    assert data.quality.deliveries[0].drift == {}


def test_a_champion_older_than_the_history_is_still_shown(
    client: MlflowClient, settings: Settings, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = log_result(client, settings, 1, HOUSES)
    move(client, settings, params, "champion", register(client, settings, params, first))
    log_result(client, settings, 2, HOUSES)
    monkeypatch.setattr("housing.dashboard.results.HISTORY", 1)
    data = collect(client, settings, params)
    assert [alias.result.name for alias in data.aliases] == ["v1"]
    assert len(data.results) == 2


def test_the_page_is_rebuilt_from_mlflow_alone(
    client: MlflowClient, settings: Settings, params: Params
) -> None:
    run_id = log_result(client, settings, 1, HOUSES)
    written = [write_summary(settings, summary(f"manual__{number}")) for number in (1, 2)]
    page = update(settings, params)
    assert page == settings.root / ".housing" / "dashboard" / "index.html"
    assert list(page.parent.iterdir()) == [page]
    assert [item.path for item in client.list_artifacts(run_id, "dashboard")] == [
        "dashboard/index.html"
    ]
    for file in written:
        file.unlink()
    page.unlink()

    runs = collect(client, settings, params).runs
    assert [run["run"] for run in runs] == ["manual__2", "manual__1"]
    update(settings, params)
    assert block(runs) in page.read_text(encoding="utf-8")


def test_a_run_is_recorded_once_and_its_last_state_counts(
    client: MlflowClient, settings: Settings, params: Params
) -> None:
    write_summary(settings, summary("manual__1", state="failed"))
    write_summary(settings, summary("manual__2"))
    update(settings, params)
    write_summary(settings, summary("manual__1", at="2026-05-01T13:00:00+00:00"))  # cleared
    update(settings, params)
    update(settings, params)
    data: DashboardData = collect(client, settings, params)
    assert [(run["run"], run["state"]) for run in data.runs] == [
        ("manual__1", "success"),
        ("manual__2", "success"),
    ]


def test_the_command_line_makes_the_page(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(PARAMS, settings.root)
    monkeypatch.setenv("HOUSING_ROOT", str(settings.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    app(["dashboard", "--json"], standalone_mode=False)
    page = Path(json.loads(capsys.readouterr().out)["page"])
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_page_follows_a_move_and_the_move_outlives_the_page(
    client: MlflowClient, settings: Settings, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(PARAMS, settings.root)
    run_id = log_result(client, settings, 1, HOUSES)
    move(client, settings, params, "champion", register(client, settings, params, run_id))
    follow_move(settings, console_of(as_json=True))
    page = page_file(settings.root).read_text(encoding="utf-8")
    assert "<td>passed the gate</td>" in page
    assert f"http://127.0.0.1:5000/#/runs/{run_id}" in page  # where `make up` puts MLflow
    (settings.root / "params.yaml").unlink()
    follow_move(settings, console_of(as_json=True))
    assert "the alias moved, but the dashboard is as before" in capsys.readouterr().err


def test_drift_is_the_shift_in_standard_deviations() -> None:
    before = describe(HOUSES)
    spread = before["MedInc"]["std"]
    after = describe(HOUSES.with_columns(pl.col("MedInc") + spread / 2))
    assert drift(before, after) == pytest.approx({"MedInc": 0.5, "kind": 0})


def test_drift_of_shares_is_one_when_nothing_is_common() -> None:
    before, after = HOUSES.select("kind"), pl.DataFrame({"kind": ["tent"] * 9})
    assert drift(describe(before), describe(after)) == pytest.approx({"kind": 1})


def test_a_column_without_values_has_no_drift() -> None:
    nothing = HOUSES.with_columns(pl.lit(None, pl.Float64).alias("MedInc"))
    assert drift(describe(HOUSES), describe(nothing)).keys() == {"kind"}


def test_dates_have_no_drift_and_truth_values_have_shares() -> None:
    days = pl.date_range(dt.date(2014, 1, 1), dt.date(2014, 1, 8), eager=True)
    before = describe(pl.DataFrame({"sold": days, "garage": [True, False] * 4}))
    assert before["sold"] == {"nulls": 0, "min": "2014-01-01", "max": "2014-01-08"}
    assert before["garage"]["categories"] == {"false": 4, "true": 4}
    after = describe(pl.DataFrame({"sold": days.dt.offset_by("1y"), "garage": [True] * 8}))
    assert drift(before, after) == {"garage": pytest.approx(0.56, abs=0.01)}


def test_the_gap_to_the_champion_is_of_the_rows_that_both_were_tested_on() -> None:
    # On 20 rows of the cheapest decile the champion is off by $13,000. Its other rows are its own.
    theirs = PREDICTIONS.with_columns(
        actual=pl.when(pl.col("actual") < 68_000).then("actual").otherwise(pl.col("actual") + 1),
        predicted=pl.col("actual") + 13_000,
    )
    cheapest, *others = deciles(PREDICTIONS, theirs)
    assert cheapest.common == 20
    assert cheapest.gap == pytest.approx(-3_000)
    assert {(decile.common, decile.gap) for decile in others} == {(0, None)}
    assert {decile.rows for decile in (cheapest, *others)} == {30}


def test_deciles_hold_all_rows_in_order_of_price() -> None:
    found = deciles(PREDICTIONS)
    assert [decile.number for decile in found] == list(range(1, 11))
    assert {decile.rows for decile in found} == {30}
    assert [decile.low for decile in found] == sorted(decile.low for decile in found)
    assert {round(decile.bias) for decile in found} == {-10_000}  # the model is too high
    assert {decile.coverage for decile in found} == {1.0}


@pytest.mark.parametrize("broken", ["", "[]", '{"run_id": "run2"}'])
def test_a_broken_summary_is_named_and_left_out(
    client: MlflowClient,
    settings: Settings,
    params: Params,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    write_summary(settings, summary("run1"))
    write_summary(settings, summary("run2")).write_text(broken, encoding="utf-8")
    record_runs(client, settings)
    assert "run2.json" in caplog.text
    assert "rm " in caplog.text
    assert [run["run"] for run in collect(client, settings, params).runs] == ["run1"]


def test_a_broken_file_of_a_run_in_mlflow_is_named_and_left_out(
    client: MlflowClient,
    settings: Settings,
    params: Params,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_id = log_result(client, settings, 1, HOUSES)
    register(client, settings, params, run_id)
    client.log_text(run_id, '{"half": ', "reports/data_quality.json")
    client.log_text(run_id, "", "reports/evaluation_report.json")
    write_summary(settings, summary("run1"))
    record_runs(client, settings)
    (run,) = client.search_runs([experiment_id(client, "housing-runs", None)])
    client.log_text(run.info.run_id, "", "summary.json")
    data = collect(client, settings, params)
    assert data.runs == ()
    assert data.quality is None
    for name in ("data_quality.json", "evaluation_report.json", "summary.json"):
        assert name in caplog.text

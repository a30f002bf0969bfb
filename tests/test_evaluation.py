from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from housing.domain.config import CandidateParams, Params, load_params
from housing.domain.evaluation import PLOT_POINTS, Evaluation, Subject, evaluate, pick_candidate
from housing.domain.metrics import METRICS, regression_metrics
from housing.domain.tables import LATITUDE, LONGITUDE, ROW, TARGET, Table
from housing.domain.training import train

ROOT = Path(__file__).parents[1]
PLACES = {"north": (40.0, -120.0), "south": (33.0, -117.0)}
SETTINGS = CandidateParams(
    booster="gblinear",
    n_estimators=50,
    learning_rate=0.5,
    early_stopping_rounds=5,
    reg_lambda=0,
)


def table(rows: int, seed: int) -> Table:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 2)).astype(np.float32)
    north = generator.random(rows) < 0.25
    price = 300_000 + 40_000 * x[:, 0] + generator.normal(0, np.where(north, 20_000, 5_000))
    return Table(
        pl.DataFrame(x, schema=["a", "b"]).with_columns(
            pl.Series(ROW, [f"{seed}{i:09x}" for i in generator.permutation(rows)]),
            pl.Series(TARGET, price),
            pl.Series(LATITUDE, np.where(north, 39.5, 33.5) + generator.random(rows)),
            pl.Series(LONGITUDE, np.where(north, -119.5, -117.5) + generator.random(rows)),
        )
    )


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "tests/params.yaml")


@pytest.fixture(scope="module")
def subject() -> Subject:
    learn, validation, test = table(2_000, 1), table(1_000, 2), table(3_000, 3)
    training = train(SETTINGS, learn, validation, 7)
    metrics = regression_metrics(validation.y, training.first.held_out)
    trainings: dict[str, dict[str, Any]] = {
        "poor": {"validation": {**metrics, "rmse": 1e6}, "curve": []},
        "good": {
            "validation": metrics,
            "curve": [
                {"iteration": i, "train_rmse": 2.0, "validation_rmse": 9.0 - i} for i in (0, 1)
            ],
        },
    }
    rows = {"train": 2_000, "validation": 1_000, "test": 3_000}
    held_out = training.first.held_out
    return Subject("good", training.model, trainings, rows, validation, held_out, test, PLACES)


@pytest.fixture(scope="module")
def found(subject: Subject, params: Params) -> Evaluation:
    return evaluate(subject, params)


def test_the_candidate_is_picked_by_validation_rmse(subject: Subject) -> None:
    assert pick_candidate(subject.trainings) == "good"
    twins: Mapping[str, Any] = {name: {"validation": {"rmse": 1.0}} for name in ("z", "a")}
    assert pick_candidate(twins) == "z"


def test_the_report_has_every_part(found: Evaluation, subject: Subject) -> None:
    report = found.report
    assert list(report) == [
        "candidate",
        "candidates",
        "rows",
        "metrics",
        "intervals",
        "confidence",
        "groups",
        "residuals",
        "importance",
        "prediction_interval",
    ]
    assert report["candidate"] == "good"
    assert list(report["candidates"]) == ["poor", "good"]
    assert report["rows"] == {"train": 2_000, "validation": 1_000, "test": 3_000}
    assert report["confidence"] == 0.95
    assert list(report["intervals"]) == list(METRICS)
    assert report["importance"] == subject.model.importance()
    json.dumps(report, allow_nan=False)


def test_the_metrics_are_those_of_the_predictions(found: Evaluation, subject: Subject) -> None:
    scored = found.predictions
    assert scored.columns == [ROW, "latitude", "longitude", "actual", "predicted", "lower", "upper"]
    assert set(scored.dtypes[1:]) == {pl.Float64}
    assert scored[ROW].to_list() == subject.test.frame[ROW].to_list()
    assert scored["actual"].to_list() == subject.test.y.tolist()
    again = regression_metrics(scored["actual"].to_numpy(), scored["predicted"].to_numpy())
    assert found.report["metrics"] == again
    for name, value in again.items():
        interval = found.report["intervals"][name]
        assert interval["low"] < value < interval["high"]


def test_the_prediction_interval_covers_as_promised(found: Evaluation) -> None:
    interval, scored = found.report["prediction_interval"], found.predictions
    assert interval["nominal"] == 0.9
    widths = (scored["upper"] - scored["lower"]).to_numpy()
    assert widths.mean() == pytest.approx(2 * interval["halfwidth"])
    assert {point["predicted"] for point in interval["points"]}
    assert list(interval["coverage_by"])[:1] == ["predicted decile 1"]
    assert list(interval["coverage_by"])[10:] == ["region north", "region south"]
    inside = scored["actual"].is_between(scored["lower"], scored["upper"]).mean()
    assert inside == interval["coverage"] == pytest.approx(0.9, abs=0.03)


def test_a_limit_of_the_gate_is_no_part_of_the_result(
    found: Evaluation, subject: Subject, params: Params
) -> None:
    gate = params.gate.model_copy(update={"min_r2": 0.99, "max_rmse": 1.0})
    assert evaluate(subject, params.model_copy(update={"gate": gate})).report == found.report


def test_rows_in_one_place_have_no_interval(subject: Subject, params: Params) -> None:
    street = subject.test.frame.with_columns(
        pl.lit(37.7701).alias(LATITUDE), pl.lit(-122.4).alias(LONGITUDE)
    )
    report = evaluate(replace(subject, test=Table(street)), params).report
    assert report["intervals"] == {}
    assert report["groups"] == {"effective": 1.0, "degrees": 0.1 / 2**10}


def test_residuals_are_cut_by_price_and_region(found: Evaluation) -> None:
    residuals, metrics = found.report["residuals"], found.report["metrics"]
    assert residuals["mean"] ** 2 + residuals["std"] ** 2 == pytest.approx(metrics["rmse"] ** 2)
    assert list(residuals["quantiles"]) == ["p5", "p25", "p50", "p75", "p95"]
    deciles = residuals["by_decile"]
    assert [cut["decile"] for cut in deciles] == list(range(1, 11))
    assert {cut["rows"] for cut in deciles} == {300}
    assert all(a["high"] <= b["low"] for a, b in pairwise(deciles))
    regions = {cut["region"]: cut for cut in residuals["by_region"]}
    assert list(regions) == ["north", "south"]
    assert regions["north"]["rmse"] > 2 * regions["south"]["rmse"]
    for cuts in (deciles, residuals["by_region"]):
        squares = sum(cut["rows"] * cut["rmse"] ** 2 for cut in cuts)
        assert squares / 3_000 == pytest.approx(metrics["rmse"] ** 2)


def test_rows_without_a_location_belong_to_no_region(subject: Subject, params: Params) -> None:
    place = pl.when(pl.int_range(pl.len()) < 10).then(None).otherwise(pl.col(LATITUDE))
    some = Table(subject.test.frame.with_columns(place.alias(LATITUDE)))
    none = Table(subject.test.frame.with_columns(pl.lit(None, pl.Float64).alias(LATITUDE)))
    never = Table(subject.test.frame.drop(LATITUDE, LONGITUDE))
    for test, rows in ((some, 2_990), (none, 0), (never, 0)):
        result = evaluate(replace(subject, test=test), params)
        assert sum(cut["rows"] for cut in result.report["residuals"]["by_region"]) == rows
    assert result.predictions.columns == [ROW, "actual", "predicted", "lower", "upper"]


def test_without_places_there_are_no_regions(subject: Subject, params: Params) -> None:
    report = evaluate(replace(subject, places={}), params).report
    assert report["residuals"]["by_region"] == []


def test_the_plots_are_small_and_of_test_rows(found: Evaluation) -> None:
    columns = {name: plot.columns for name, plot in found.plots.items()}
    assert columns == {
        "predicted_vs_actual": ["actual", "predicted"],
        "residuals": ["predicted", "residual"],
        "importance": ["feature", "gain"],
        "learning_curve": ["iteration", "rmse"],
    }
    points = found.plots["predicted_vs_actual"]
    assert points.height == found.plots["residuals"].height == PLOT_POINTS
    rounded = found.predictions.select(pl.col("actual", "predicted").round(0).cast(pl.Int64))
    assert points.join(rounded, on=points.columns, how="anti").is_empty()
    assert found.plots["learning_curve"].rows() == [(0, 9.0), (1, 8.0)]
    assert found.plots["importance"]["gain"].sum() == pytest.approx(1)


def test_a_plot_keeps_its_points_when_the_order_of_the_rows_changes(
    found: Evaluation, subject: Subject, params: Params
) -> None:
    turned = replace(subject, test=Table(subject.test.frame.reverse()))
    plot = evaluate(turned, params).plots["residuals"]
    assert plot.rows() == found.plots["residuals"].rows()


def test_an_evaluation_repeats(found: Evaluation, subject: Subject, params: Params) -> None:
    again = evaluate(subject, params)
    assert json.dumps(again.report) == json.dumps(found.report)
    assert again.predictions.equals(found.predictions)

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from housing.domain import gate
from housing.domain.config import GateParams
from housing.domain.gate import Comparison, SliceLoss
from housing.domain.verdict import Check, Contest, Verdict, render

LIMITS = GateParams(min_r2=0.75, max_rmse=50_000, max_regression=400)
PLACES = {"south": (34.0, -118.0), "north": (38.0, -118.0)}


def predictions(rows: int = 2000, error: float = 40_000, seed: int = 0) -> pl.DataFrame:
    """Houses on a map with predictions of a known error (dollars)."""
    random = np.random.default_rng(seed)
    actual = np.random.default_rng(99).uniform(50_000, 500_000, rows).round()
    place = np.random.default_rng(98).random((rows, 2)).round(2)
    return pl.DataFrame(
        {
            "_row": [f"{number:016x}" for number in range(rows)],
            "latitude": 34 + 4 * place[:, 0],
            "longitude": -120 + 4 * place[:, 1],
            "actual": actual,
            "predicted": actual + random.normal(0, error, rows),
        }
    )


def paired(challenger: float, champion: float) -> pl.DataFrame:
    return gate.pair(predictions(error=challenger, seed=1), predictions(error=champion, seed=2))


@pytest.mark.parametrize(
    ("r2", "rmse", "failed"),
    [
        (0.75, 50_000.0, set()),
        (0.7499, 50_000.0, {"r2_score"}),
        (0.75, 50_000.01, {"rmse"}),
        (0.1, 99_999.0, {"r2_score", "rmse"}),
        (math.nan, math.nan, {"r2_score", "rmse"}),
        (0.9, math.inf, {"rmse"}),
    ],
)
def test_thresholds(r2: float, rmse: float, failed: set[str]) -> None:
    checks = gate.thresholds({"r2_score": r2, "rmse": rmse}, LIMITS)
    assert {check.name for check in checks if not check.passed} == failed


@pytest.mark.parametrize(
    ("contest", "gain", "bound", "passed"),
    [
        ("improvement", 500, 1, True),
        ("improvement", 500, 0, False),
        ("improvement", 500, -1, False),
        ("refresh", -100, -400, True),
        ("refresh", 0, -401, False),
        ("same", 0, 0, True),
        ("same", -1, -1, False),
    ],
)
def test_the_rule_follows_the_contest(
    contest: Contest, gain: float, bound: float, passed: bool
) -> None:
    comparison = Comparison(1000, 100, 90.0, 40_000, 40_000 - gain, gain, bound, ())
    assert gate.gain(comparison, contest, LIMITS).passed is passed


@pytest.mark.parametrize(
    ("contest", "passed"), [("improvement", False), ("refresh", False), ("same", True)]
)
def test_nothing_is_sure_in_one_street(contest: Contest, passed: bool) -> None:
    street = paired(30_000, 40_000).with_columns(latitude=pl.lit(37.7701), longitude=pl.lit(-122.4))
    comparison = gate.compare(street, LIMITS, PLACES, seed=1)
    assert comparison.gain > 9000
    assert comparison.bound is None
    assert comparison.slices == ()
    check = gate.gain(comparison, contest, LIMITS)
    assert check.passed is passed
    assert "nothing is sure: the rows are worth 1 groups of neighbours" in check.sentence


def test_a_city_is_compared_by_smaller_groups() -> None:
    rows = paired(30_000, 40_000)
    city = rows.with_columns(pl.col("latitude") / 50, pl.col("longitude") / 50)  # 9 km wide
    comparison = gate.compare(city, LIMITS, {}, seed=1)
    assert comparison.bound is not None
    assert 0 < comparison.bound < comparison.gain


def test_a_slice_in_one_place_is_no_slice() -> None:
    rows = paired(40_000, 40_000)
    apart = rows.with_columns(
        latitude=pl.when(pl.int_range(pl.len()) < 300).then(38.05).otherwise(pl.col("latitude") - 3)
    ).with_columns(longitude=pl.when(pl.col("latitude") == 38.05).then(-118.0).otherwise(-120.0))
    names = {part.name for part in gate.compare(apart, LIMITS, PLACES, seed=1).slices}
    assert "region north" not in names
    assert "region south" in names


@pytest.mark.parametrize(
    ("gain", "bound", "told"),
    [
        (500, 100, "RMSE falls by $500 on 1,000 common rows, for sure (95%) by $100"),
        (3, -35, "RMSE falls by $3 on 1,000 common rows, at worst (95%) it rises by $35"),
        (-75, -900, "RMSE rises by $75 on 1,000 common rows, at worst (95%) it rises by $900"),
    ],
)
def test_the_gain_is_told_by_its_direction(gain: float, bound: float, told: str) -> None:
    comparison = Comparison(1000, 100, 90.0, 40_000, 40_000 - gain, gain, bound, ())
    assert gate.gain(comparison, "refresh", LIMITS).sentence.startswith(f"{told}; ")


@pytest.mark.parametrize(
    ("loss", "bound", "passed"),
    [(9000, 1, True), (9001, 1, False), (20_000, -1, True), (-5000, -9000, True)],
)
def test_a_slice_fails_where_the_loss_is_large_and_no_accident(
    loss: float, bound: float, passed: bool
) -> None:
    limits = LIMITS.model_copy(update={"max_slice_regression": 9000})
    part = SliceLoss("region south", 400, loss, bound)
    check = gate.slices(Comparison(1000, 100, 90.0, 1, 1, 0, 0, (part,)), limits)
    assert check.passed is passed
    assert "region south" in check.sentence


@pytest.mark.parametrize(
    ("inside", "of", "passed"),
    [
        (90, 100, True),
        (82, 100, True),  # 0.82 + 1.645 * 0.037 is about 0.88
        (80, 100, False),
        (98, 100, False),
        (27, 32, True),  # by chance: 84 % of so few
        (22, 32, False),
        (32, 32, True),
        (0, 32, False),
        (8800, 10_000, True),
        (8700, 10_000, False),
        (9300, 10_000, False),
    ],
)
def test_coverage_fails_beyond_its_limit_for_sure(inside: int, of: int, passed: bool) -> None:
    rows = pl.DataFrame(
        {
            "actual": [1.0] * of,
            "predicted": [1.0] * of,
            "lower": [0.0] * of,
            "upper": [2.0] * inside + [0.5] * (of - inside),
        }
    )
    assert gate.coverage(rows, 0.9, LIMITS).passed is passed


@pytest.mark.parametrize(
    ("served", "passed"),
    [([1.0, 2.5], True), ([1.0, 3.1], False), ([1.0, math.nan], False), ([1.0], False)],
)
def test_golden_rows(served: list[float], passed: bool) -> None:
    check = gate.golden(pl.Series([1.0, 2.0]), pl.Series(served), LIMITS)
    assert check.passed is passed


@pytest.mark.parametrize(
    ("logged", "passed"),
    [
        ({"rmse": 100.0}, True),
        ({"rmse": 100.0000001}, True),
        ({"rmse": 100.01}, False),
        ({"rmse": math.nan}, False),
        ({}, False),
    ],
)
def test_metrics_must_follow_from_the_predictions(logged: dict[str, float], passed: bool) -> None:
    assert gate.agreement(logged, {"rmse": 100.0}).passed is passed


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"a": "1", "b": "2", "c": "3"}, ""),
        ({"a": "1", "b": "9"}, "b in MLflow is not what was evaluated"),
        ({"a": "1"}, "b in MLflow is missing"),
        ({"a": "1", "b": None}, "b in MLflow is missing"),
    ],
)
def test_every_file_must_be_the_one_that_was_evaluated(
    found: dict[str, str | None], said: str
) -> None:
    check = gate.same("artifact_bytes", "in MLflow", found, {"a": "1", "b": "2"})
    assert check.passed is not bool(said)
    assert said in check.sentence


def test_older_data_does_not_pass() -> None:
    assert gate.newer(2000, 2000).passed
    assert gate.newer(3000, 2000).passed
    check = gate.newer(2000, 62_000)
    assert not check.passed
    assert "60 s before" in check.sentence


def test_a_clear_gain_is_sure_and_a_clear_loss_too() -> None:
    better = gate.compare(paired(30_000, 40_000), LIMITS, PLACES, seed=1)
    assert 9000 < better.gain < 11_000
    assert better.bound is not None
    assert 0 < better.bound < better.gain
    worse = gate.compare(paired(40_000, 30_000), LIMITS, PLACES, seed=1)
    assert worse.bound is not None
    assert worse.bound < worse.gain < 0


def test_a_comparison_repeats() -> None:
    rows = paired(40_000, 40_000)
    assert gate.compare(rows, LIMITS, PLACES, seed=1) == gate.compare(rows, LIMITS, PLACES, seed=1)


def test_the_same_model_gains_nothing() -> None:
    rows = gate.pair(predictions(), predictions())
    comparison = gate.compare(rows, LIMITS, PLACES, seed=1)
    assert comparison.gain == comparison.bound == 0
    assert all(part.loss == 0 for part in comparison.slices)


def test_slices_are_deciles_and_regions_with_enough_rows() -> None:
    names = {part.name for part in gate.compare(paired(1, 2), LIMITS, PLACES, seed=1).slices}
    assert {f"price decile {number}" for number in range(1, 11)} <= names
    assert {"region south", "region north"} <= names
    few = LIMITS.model_copy(update={"min_slice_rows": 1999})
    assert gate.compare(paired(1, 2), few, PLACES, seed=1).slices == ()


def test_a_table_without_a_location_is_compared_by_identity() -> None:
    rows = paired(30_000, 40_000).drop("latitude", "longitude")
    comparison = gate.compare(rows, LIMITS, PLACES, seed=1)
    assert comparison.cells == rows.height
    assert comparison.bound is not None
    assert comparison.bound > 0


def test_rows_that_a_model_has_seen_are_left_out() -> None:
    rows = predictions(10)
    seen = rows.select("_row").head(3)
    other = rows.select("_row").tail(1)
    assert gate.held_out(rows, seen, other)["_row"].to_list() == rows["_row"][3:9].to_list()


def test_rows_are_paired_by_identity_and_price() -> None:
    mine = pl.DataFrame(
        {
            "_row": ["a", "a", "b", "c"],
            "actual": [1.0, 2.0, 3.0, 4.0],
            "predicted": [10, 20, 30, 40],
        }
    )
    theirs = pl.DataFrame(
        {"_row": list("baac"), "actual": [3.0, 2.0, 1.0, 5.0], "predicted": [3, 2, 1, 9]}
    )
    both = gate.pair(mine, theirs)
    assert both["champion"].to_list() == [1, 2, 3]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([1.0, 2.0])), max_size=30))
def test_pairing_makes_no_row_and_loses_none(rows: list[tuple[str, float]]) -> None:
    frame = pl.DataFrame(
        {
            "_row": [name for name, _ in rows],
            "actual": [price for _, price in rows],
            "predicted": [float(number) for number in range(len(rows))],
        },
        schema={"_row": pl.String, "actual": pl.Float64, "predicted": pl.Float64},
    )
    both = gate.pair(frame, frame.reverse())
    assert both.drop("champion").equals(frame)
    assert sorted(both["champion"]) == sorted(frame["predicted"])


def verdict(*, passed: bool) -> Verdict:
    check = Check(name="rmse", passed=passed, value=1.5, limit=None, sentence="RMSE is $2")
    return Verdict(result="f" * 16, run_id="r", passed=passed, alias="staging", checks=(check,))


def test_a_verdict_survives_json() -> None:
    content = json.loads(json.dumps(verdict(passed=False).to_dict()))
    assert Verdict.from_dict(content) == verdict(passed=False)


def test_reasons_are_the_sentences_of_failed_checks() -> None:
    assert verdict(passed=True).reasons == ()
    assert verdict(passed=False).reasons == ("RMSE is $2",)


def test_a_verdict_is_drawn_as_a_table() -> None:
    lines = render(verdict(passed=False)).splitlines()
    assert lines[0] == "gate: FAILED (first; staging holds no model yet)"
    assert lines[2].split() == ["rmse", "FAIL", "1.5", "-", "RMSE", "is", "$2"]
    unchanged = verdict(passed=True).model_copy(update={"unchanged": True})
    assert render(unchanged) == f"gate: unchanged, staging already holds result {'f' * 16}"

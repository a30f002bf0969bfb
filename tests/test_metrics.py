from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from housing.domain.config import EvaluateParams
from housing.domain.metrics import (
    METRICS,
    Interval,
    Metric,
    Numbers,
    bootstrap_intervals,
    conformal_halfwidth,
    regression_metrics,
)
from housing.errors import DataError

SETTINGS = EvaluateParams(confidence=0.9, resamples=200, coverage=0.9)
PRICES = arrays(np.float64, 30, elements=st.floats(1e4, 1e6), unique=True)


def singles(values: Numbers) -> NDArray[np.str_]:
    return np.arange(len(values)).astype(str)


def intervals(actual: Numbers, predicted: Numbers, seed: int = 1) -> dict[Metric, Interval]:
    return bootstrap_intervals(actual, predicted, singles(actual), SETTINGS, seed)


@pytest.mark.parametrize(
    ("actual", "predicted", "expected"),
    [
        # rmse, mae, r2_score, mape by hand
        ([100, 200], [110, 180], (math.sqrt(250), 15, 1 - 500 / 5000, 10)),
        ([100, 200, 300], [100, 200, 300], (0, 0, 1, 0)),
        ([100, 200, 300], [200, 200, 200], (math.sqrt(2e4 / 3), 200 / 3, 0, (100 + 100 / 3) / 3)),
        ([100, 300], [300, 100], (200, 200, -3, (200 + 200 / 3) / 2)),
        ([-100, 100], [0, 0], (100, 100, 0, 100)),
    ],
)
def test_metrics_have_their_known_values(
    actual: list[float], predicted: list[float], expected: tuple[float, ...]
) -> None:
    found = regression_metrics(np.array(actual, float), np.array(predicted, float))
    assert list(found) == list(METRICS)
    assert list(found.values()) == pytest.approx(expected)


@given(PRICES, st.floats(-1e5, 1e5))
def test_the_squared_error_is_bias_and_spread(actual: Numbers, shift: float) -> None:
    predicted = actual[::-1] + shift
    error = actual - predicted
    found = regression_metrics(actual, predicted)
    assert found["rmse"] ** 2 == pytest.approx(error.mean() ** 2 + error.var(), rel=1e-9)
    assert found["rmse"] >= found["mae"] * (1 - 1e-9)
    assert found["r2_score"] == pytest.approx(
        1 - found["rmse"] ** 2 / actual.var(), rel=1e-6, abs=1e-6
    )


@given(PRICES, st.sampled_from([0.001, 0.25, 3.0, 1000.0]))
def test_a_unit_scales_dollars_and_nothing_else(actual: Numbers, unit: float) -> None:
    predicted = actual[::-1].copy()
    found, scaled = (regression_metrics(actual * u, predicted * u) for u in (1.0, unit))
    assert scaled["rmse"] == pytest.approx(found["rmse"] * unit)
    assert scaled["mae"] == pytest.approx(found["mae"] * unit)
    assert scaled["r2_score"] == pytest.approx(found["r2_score"], rel=1e-6, abs=1e-6)
    assert scaled["mape"] == pytest.approx(found["mape"])


@pytest.mark.parametrize(
    ("actual", "predicted", "message"),
    [
        ([], [], "there is no row"),
        ([1.0, 2.0], [1.0], r"\(2,\) prices do not match \(1,\) predictions"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "do not match"),
        ([1.0, math.nan], [1.0, 2.0], "1 of 2 prices are not finite"),
        ([1.0, 2.0], [math.inf, math.nan], "2 of 2 predictions are not finite"),
        ([1.0, 0.0], [1.0, 2.0], "a price is 0"),
        ([2.0, 2.0], [1.0, 2.0], "all 2 prices are 2"),
    ],
)
def test_what_cannot_be_measured_is_an_error(
    actual: list[float], predicted: list[float], message: str
) -> None:
    given_actual, given_predicted = np.array(actual, float), np.array(predicted, float)
    with pytest.raises(DataError, match=message):
        regression_metrics(given_actual, given_predicted)
    with pytest.raises(DataError, match=message):
        intervals(given_actual, given_predicted)


@pytest.mark.parametrize("bad", [[], [math.nan] * 30])
def test_conformal_intervals_refuse_what_is_no_number(bad: list[float]) -> None:
    values = np.array(bad, float)
    with pytest.raises(DataError):
        conformal_halfwidth(values, values, 0.9)


@given(PRICES, st.integers(0, 9))
def test_intervals_hold_the_metric_and_repeat(actual: Numbers, seed: int) -> None:
    predicted = actual[::-1].copy()
    found = intervals(actual, predicted, seed)
    assert intervals(actual, predicted, seed) == found
    for name, value in regression_metrics(actual, predicted).items():
        assert found[name].low <= found[name].high
        if name in {"mae", "mape"}:  # means: the middle of their resamples
            assert found[name].low <= value <= found[name].high


def test_intervals_are_the_same_on_every_kind_of_processor() -> None:
    script = (
        "import numpy as np\n"
        "from housing.domain.config import EvaluateParams\n"
        "from housing.domain.metrics import bootstrap_intervals\n"
        "prices = np.random.default_rng(1).uniform(1e4, 5e5, (2, 3000))\n"
        "settings = EvaluateParams(confidence=0.9, resamples=200, coverage=0.9)\n"
        "groups = np.arange(3000) // 3\n"
        "print(sorted(bootstrap_intervals(*prices, groups, settings, 1).items()))"
    )
    # OpenBLAS has a kernel for each kind; an older one runs on any machine.
    kinds = ("", "Nehalem", "Sandybridge")
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | ({"OPENBLAS_CORETYPE": kind} if kind else {}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kind in kinds
    ]
    assert printed[0].startswith("[('mae', Interval(low=")
    assert len(set(printed)) == 1


def test_equal_errors_leave_no_doubt() -> None:
    actual = np.linspace(1e5, 2e5, 50)
    found = intervals(actual, actual + 500)
    for name in ("rmse", "mae"):
        assert (found[name].low, found[name].high) == pytest.approx((500, 500))


def test_a_repeated_row_adds_no_evidence() -> None:
    generator = np.random.default_rng(0)
    actual = generator.uniform(1e5, 5e5, 60)
    predicted = actual + generator.normal(0, 1e4, 60)
    once = intervals(actual, predicted)
    groups = np.repeat(singles(actual), 3)
    actual, predicted = np.repeat(actual, 3), np.repeat(predicted, 3)
    grouped = bootstrap_intervals(actual, predicted, groups, SETTINGS, 1)
    ungrouped = intervals(actual, predicted)
    for name in METRICS:
        assert grouped[name].low == pytest.approx(once[name].low)
        assert grouped[name].high == pytest.approx(once[name].high)
        assert ungrouped[name].high - ungrouped[name].low < once[name].high - once[name].low


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    truth = 1e4 * math.sqrt(2 / math.pi)  # mean of the absolute value of a normal error
    covered = 0
    for _ in range(200):
        actual = generator.uniform(1e5, 5e5, 150)
        found = intervals(actual, actual + generator.normal(0, 1e4, 150))["mae"]
        covered += found.low <= truth <= found.high
    # 90 % of 200, give or take three standard deviations.
    assert 167 <= covered <= 193


@pytest.mark.parametrize(
    ("rows", "coverage", "rank"),
    [(9, 0.9, 9), (19, 0.9, 18), (99, 0.9, 90), (100, 0.9, 91), (3, 0.5, 2), (19, 0.95, 19)],
)
def test_the_halfwidth_is_an_order_statistic(rows: int, coverage: float, rank: int) -> None:
    errors = np.random.default_rng(0).permutation(np.arange(1.0, rows + 1))
    signs = np.where(errors % 2 == 0, 1, -1)
    assert conformal_halfwidth(errors * signs, np.zeros(rows), coverage) == rank


def test_too_few_rows_promise_no_coverage() -> None:
    with pytest.raises(DataError, match=r"8 validation row\(s\) are too few for a coverage of 0.9"):
        conformal_halfwidth(np.ones(8), np.zeros(8), 0.9)


def test_new_rows_are_covered_at_least_as_often_as_promised() -> None:
    generator = np.random.default_rng(3)
    shares = []
    for _ in range(400):
        errors = generator.standard_cauchy(60)  # no moments: the promise holds for any error
        known, new = errors[:19], errors[19:]
        halfwidth = conformal_halfwidth(known, np.zeros(19), 0.8)
        shares.append(np.mean(np.abs(new) <= halfwidth))
    # Expected: exactly 16 of 20; a standard deviation of the mean is 0.005.
    assert np.mean(shares) == pytest.approx(0.8, abs=0.015)

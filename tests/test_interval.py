"""The prediction interval adapts to the price, and the gate looks at it slice by slice."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from housing.domain.config import GateParams
from housing.domain.coverage import coverages, regions
from housing.domain.gate import slice_coverage
from housing.domain.interval import Interval
from housing.domain.metrics import conformal_halfwidth
from housing.errors import DataError

LIMITS = GateParams(min_r2=0, max_rmse=1e6, max_regression=0)
PLACES = {"here": (37.0, -122.0), "there": (34.0, -118.0)}


def rows(count: int, seed: int) -> pl.DataFrame:
    """Predictions whose errors grow with the price."""
    generator = np.random.default_rng(seed)
    predicted = generator.uniform(50_000, 500_000, count)
    actual = predicted + generator.normal(0, 0.2 * predicted)
    north = generator.random(count) < 0.5
    return pl.DataFrame(
        {
            "actual": actual,
            "predicted": predicted,
            "latitude": np.where(north, 37.1, 34.1),
            "longitude": np.where(north, -122.1, -118.1),
        }
    )


def fitted(known: pl.DataFrame, coverage: float = 0.9) -> Interval:
    return Interval.fit(
        known["actual"].to_numpy(), known["predicted"].to_numpy(), coverage, regions(known, PLACES)
    )


def with_interval(frame: pl.DataFrame, interval: Interval) -> pl.DataFrame:
    lower, upper = interval.around(frame["predicted"].to_numpy(), regions(frame, PLACES))
    return frame.with_columns(lower=lower, upper=upper)


KNOWN, NEW = rows(4_000, 1), rows(20_000, 2)
ONE_WIDTH = Interval(
    np.array([0.0]),
    np.array([conformal_halfwidth(KNOWN["actual"].to_numpy(), KNOWN["predicted"].to_numpy(), 0.9)]),
)


def test_the_interval_holds_what_it_promises_at_every_price_and_is_narrower() -> None:
    adapted, flat = (with_interval(NEW, interval) for interval in (fitted(KNOWN), ONE_WIDTH))
    shares = {part.name: part.share for part in coverages(adapted, PLACES)}
    assert len(shares) == 13
    assert shares.pop("all") == pytest.approx(0.9, abs=0.015)
    assert list(shares.values()) == pytest.approx([0.9] * 12, abs=0.04)
    width = [
        float((frame["upper"] - frame["lower"]).to_numpy().mean()) for frame in (adapted, flat)
    ]
    assert width[0] < 0.95 * width[1]
    assert coverages(flat, {})[1].share > 0.99


def test_a_region_whose_prices_are_harder_has_a_wider_interval() -> None:
    def harder(frame: pl.DataFrame) -> pl.DataFrame:
        twice = pl.when(pl.col("latitude") > 36).then(2).otherwise(1)
        error = pl.col("actual") - pl.col("predicted")
        return frame.with_columns(actual=pl.col("predicted") + error * twice)

    interval = fitted(harder(KNOWN))
    assert interval.factors["here"] > 1.5 * interval.factors["there"]
    new = harder(NEW)
    shares = {part.name: part.share for part in coverages(with_interval(new, interval), PLACES)}
    assert [shares[f"region {name}"] for name in PLACES] == pytest.approx([0.9] * 2, abs=0.03)
    assert shares["all"] == pytest.approx(0.9, abs=0.015)
    report = {"prediction_interval": {"points": interval.points(), "factors": interval.factors}}
    again = Interval.read(report)
    assert with_interval(new, again).equals(with_interval(new, interval))


def test_a_region_of_few_rows_is_nearly_as_wide_as_the_others() -> None:
    few = pl.concat(
        [KNOWN.filter(pl.col("latitude") < 36), KNOWN.filter(pl.col("latitude") > 36)[:5]]
    )
    assert fitted(few).factors["here"] == pytest.approx(1, abs=0.1)


def test_few_rows_have_one_width_for_all() -> None:
    few = KNOWN[:150]
    actual, predicted = few["actual"].to_numpy(), few["predicted"].to_numpy()
    interval = Interval.fit(actual, predicted, 0.9, {})
    half = conformal_halfwidth(actual, predicted, 0.9)
    assert interval.halfwidth.tolist() == pytest.approx([half])
    with pytest.raises(DataError, match=r"8 validation row\(s\) are too few"):
        fitted(KNOWN[:8])


def test_equal_predictions_and_no_errors_are_no_fault() -> None:
    same = KNOWN.with_columns(predicted=pl.lit(200_000.0))
    assert len(fitted(same).predicted) == 1
    exact = KNOWN.with_columns(actual=pl.col("predicted"))
    assert (fitted(exact).halfwidth == 0).all()


def test_the_report_holds_the_interval() -> None:
    interval = fitted(KNOWN)
    again = Interval.read({"prediction_interval": {"halfwidth": 1, "points": interval.points()}})
    price = np.array([0.0, 60_000.0, 123_456.0, 1e9])
    assert [end.tolist() for end in again.around(price, {})] == [
        end.tolist() for end in interval.around(price, {})
    ]
    alone = np.concatenate([interval.around(price[i : i + 1], {})[1] for i in range(4)])
    assert alone.tolist() == interval.around(price, {})[1].tolist()


def test_a_report_from_before_has_one_width() -> None:
    old = Interval.read({"prediction_interval": {"nominal": 0.9, "halfwidth": 20_000}})
    lower, upper = old.around(np.array([100_000.0, 500_000.0]), {})
    assert (lower.tolist(), upper.tolist()) == ([80_000, 480_000], [120_000, 520_000])


def test_the_gate_minds_an_interval_that_is_wrong_for_some() -> None:
    flat = slice_coverage(with_interval(NEW, ONE_WIDTH), 0.9, PLACES, LIMITS)
    assert not flat.passed
    assert "in predicted decile 1 (2,000 rows)" in flat.sentence
    assert "in predicted decile 10 (2,000 rows)" in flat.sentence
    assert "region" not in flat.sentence
    right = slice_coverage(with_interval(NEW, fitted(KNOWN)), 0.9, PLACES, LIMITS)
    assert right.passed
    assert right.sentence.startswith("of 12 slices none is off for sure; farthest is ")


def test_the_gate_says_nothing_of_few_rows() -> None:
    few = slice_coverage(with_interval(NEW[:150], ONE_WIDTH), 0.9, {}, LIMITS)
    assert (few.passed, few.value) == (True, None)
    assert few.sentence.startswith("no slice has 100 rows")


def test_a_region_that_is_missed_is_told() -> None:
    wide = with_interval(NEW, fitted(KNOWN))
    wrong = pl.col("latitude") > 36
    missed = wide.with_columns(upper=pl.when(wrong).then("lower").otherwise("upper"))
    found = slice_coverage(missed, 0.9, PLACES, limits(0.49))
    assert not found.passed
    assert "in region here (" in found.sentence
    assert "region there" not in found.sentence


def limits(gap: float) -> GateParams:
    return LIMITS.model_copy(update={"max_slice_coverage_gap": gap})


def test_a_row_without_a_location_is_in_no_region() -> None:
    lost = NEW[:4].with_columns(latitude=pl.Series([None, 37.0, 34.0, None], dtype=pl.Float64))
    found = regions(lost, PLACES)
    assert sum(int(mask.sum()) for mask in found.values()) == 2
    assert regions(lost.drop("latitude"), PLACES) == regions(lost, {}) == {}

"""A price is told apart into what adds to it, and stands beside what similar houses cost."""

from __future__ import annotations

import numpy as np
import pytest

from housing.domain.explanation import COMPARABLES, GROUPS, LOCATION, comparables, contributions
from housing.domain.tables import TARGET, Table
from housing.domain.training import Training, train
from tests.test_neighbours import HOUSES, SETTINGS, TEST, TRAIN, TRANSFORM, VALIDATION


@pytest.fixture(scope="module")
def training() -> Training:
    return train(SETTINGS, TRAIN, VALIDATION, 7, TRANSFORM)


def test_the_contributions_add_up_to_the_price(training: Training) -> None:
    prices = training.model.predict(TEST.x[:20])
    found = [*contributions(training.model, TRANSFORM, TEST.x[:20])]
    for price, (base, added) in zip(prices, found, strict=True):
        assert base + sum(one.dollars for one in added) == pytest.approx(price, rel=1e-5)
        assert {one.name for one in added} == {"income", "style", LOCATION, *GROUPS.values()}
        assert [abs(one.dollars) for one in added] == sorted(
            (abs(one.dollars) for one in added), reverse=True
        )
    assert len({base for base, _ in found}) == 1


def test_what_is_made_of_a_column_counts_for_the_column() -> None:
    assert {"style_price", "style=old", "north"} <= set(TRANSFORM.features)
    model = train(SETTINGS.model_copy(update={"neighbours": None}), TRAIN, VALIDATION, 7).model
    _, added = next(contributions(model, TRANSFORM, TEST.x[:1]))
    assert {one.name for one in added} == {"income", "style", LOCATION}


def test_the_most_similar_houses_are_named_with_what_they_cost(training: Training) -> None:
    house = Table(TRAIN.frame[17:18])
    (found,) = comparables(training.model, TRANSFORM, house.x)
    assert found[0].km == 0
    assert found[0].price == TRAIN.frame[TARGET][17]
    named = HOUSES["train"].row(17, named=True)
    assert found[0].columns == pytest.approx(
        {name: named[name] for name in ("north", "east", "income")}, rel=1e-5
    )
    squeezed = np.cos(np.radians(HOUSES["train"]["north"].to_numpy().mean()))
    for each in found:
        away = np.hypot(
            each.columns["north"] - named["north"],
            (each.columns["east"] - named["east"]) * squeezed,
        )
        assert each.km == pytest.approx(111.195 * away, rel=1e-2, abs=0.02)
    assert len(found) == COMPARABLES


def test_a_house_that_has_no_neighbours_has_no_similar_ones(training: Training) -> None:
    lost = TEST.x[:1].copy()
    lost[0, list(TEST.features).index("north")] = np.nan
    assert [*comparables(training.model, TRANSFORM, lost)] == [()]
    plain = train(SETTINGS.model_copy(update={"neighbours": None}), TRAIN, VALIDATION, 7).model
    assert [*comparables(plain, TRANSFORM, TEST.x[:2])] == [(), ()]

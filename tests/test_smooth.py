"""A smooth first guess: right where prices are smooth, exact to the bit, and told apart."""

from __future__ import annotations

import numpy as np
import pytest

from housing.domain.smooth import Smooth

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(3_000, 6)).astype(np.float32)
X[::50, 2] = np.nan
PRICES = 2e5 + 3e4 * X[:, 0] + 2e4 * X[:, 1] * X[:, 3]
SMOOTH = Smooth.fit([X], PRICES, 150, 7)


def test_it_follows_what_is_smooth_where_features_work_together() -> None:
    new = RANDOM.normal(size=(1_000, 6)).astype(np.float32)
    price = 2e5 + 3e4 * new[:, 0] + 2e4 * new[:, 1] * new[:, 3]
    line = Smooth.fit([X], PRICES, 0, 7).predict(new)
    assert np.std(SMOOTH.predict(new) - price) < 0.8 * np.std(line - price)


def test_a_row_has_the_same_guess_alone_together_and_from_the_file() -> None:
    together = Smooth.parse(SMOOTH.dump()).predict(X)
    assert together.tolist() == SMOOTH.predict(X).tolist()
    assert together[:60].tolist() == [SMOOTH.predict(X[i : i + 1])[0] for i in range(60)]
    # The sums of the waves are exact, so no order of adding up changes a bit.
    z = SMOOTH._standardised(X[:100])
    exact = z.astype(np.float64) @ SMOOTH.turns.astype(np.float64)
    assert (SMOOTH._turned(z) == exact).all()


def test_no_line_runs_on_for_ever() -> None:
    far = np.full((1, 6), 1e9, dtype=np.float32)
    near = SMOOTH.mean + 3 * SMOOTH.scale
    assert SMOOTH.predict(far)[0] == pytest.approx(SMOOTH.predict(near[None, :])[0])


def test_the_contributions_add_up_to_the_guess() -> None:
    average, added = SMOOTH.contributions(X[:50])
    assert average + added.sum(axis=1) == pytest.approx(SMOOTH.predict(X[:50]), rel=1e-5)
    assert not added[0, 2]  # a missing value says nothing
    assert np.abs(added).mean(axis=0).argmax() == 0

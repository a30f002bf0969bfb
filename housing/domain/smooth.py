"""A smooth first guess of the price, from which the trees go on.

Trees cut a price into steps, and need many of them to follow what changes evenly. So a ridge
regression on the features and on random waves guesses first, and the trees learn what it leaves.
Each wave runs along a random sum of all features, so features work together (random Fourier
features: Rahimi and Recht 2007, "Random Features for Large-Scale Kernel Machines", NIPS 20).

A row has the same guess to the last bit whatever rows it comes with, on every processor. For the
sums that a library adds up in an order of its own are exact: features and turns are rounded to
fractions of a power of two, few enough that Float32 holds all of a sum's digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from housing.domain.chunks import CHUNK, in_chunks
from housing.domain.columns import Frozen
from housing.domain.nearest import Features, Floats

FREQUENCY: Final = 0.5
"""Standard deviation of a wave's phase among rows of unrelated features, in radians (chosen by
validation, as the next)."""
RIDGE: Final = 100.0
"""Penalty of a squared coefficient, in training rows."""
LIMIT: Final = 3.0
"""Standard deviations beyond which a feature counts no further: no line runs on for ever."""
STEPS: Final = 64
"""Values of a feature in a standard deviation."""
TURN_STEPS: Final = 1024
"""Values of a wave's turns; with `STEPS`, sums below 256 turns are exact in Float32's 24 bits."""


class _Kept(Frozen):
    """What is written into a model's file, see `Smooth`."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    turns: tuple[tuple[float, ...], ...]
    starts: tuple[float, ...]
    slopes: tuple[float, ...]
    heights: tuple[float, ...]
    level: float


@dataclass(frozen=True)
class Smooth:
    """A ridge regression on features and waves.

    Attributes:
        mean: Of each feature among the training rows, shape (features,).
        scale: Standard deviation of each, shape (features,).
        turns: Turns of each wave in a standard deviation of each, shape (features, waves).
        starts: Turns at the means, shape (waves,).
        slopes: Dollars by a standard deviation of each feature, shape (features,).
        heights: Dollars at the top of each wave, shape (waves,).
        level: Dollars to begin with.
    """

    mean: Features
    scale: Features
    turns: Features
    starts: Features
    slopes: Floats
    heights: Floats
    level: float

    @classmethod
    def fit(cls, parts: Iterable[Features], prices: Floats, waves: int, seed: int) -> Self:
        """Draws the waves and finds the coefficients.

        Args:
            parts: All features of the training rows, a part of the rows after the other, NaN where
                one is missing: it counts as the mean. Each of shape (rows of the part, features).
                They are gone through several times.
            prices: In dollars, shape (rows,).
            waves: How many.
            seed: Of the waves.
        """
        random = np.random.default_rng(seed)
        mean, spread = _moments(parts)
        count = len(mean)
        width = FREQUENCY / (2 * math.pi) / math.sqrt(count)
        blank = cls(
            mean=mean.astype(np.float32),
            scale=np.where(spread > 0, spread, 1).astype(np.float32),
            turns=_rounded(random.normal(0, width, (count, waves)), TURN_STEPS),
            starts=random.random(waves).astype(np.float32),
            slopes=np.zeros(count),
            heights=np.zeros(waves),
            level=0.0,
        )
        *found, level = blank._coefficients(parts, prices).tolist()
        return cls(
            mean=blank.mean,
            scale=blank.scale,
            turns=blank.turns,
            starts=blank.starts,
            slopes=np.array(found[:count]),
            heights=np.array(found[count:]),
            level=level,
        )

    def predict(self, x: Features) -> Floats:
        """Guesses prices.

        Args:
            x: All features, NaN where one is missing, shape (rows, features).

        Returns:
            Dollars, shape (rows,).
        """
        dollars = np.empty(len(x))

        def guess(some: NDArray[np.intp]) -> None:
            z = self._standardised(x[some])
            line = (z * self.slopes).sum(axis=1)
            waves = (self._waves(z) * self.heights).sum(axis=1)
            dollars[some] = self.level + line + waves

        in_chunks(np.arange(len(x)), guess)
        return dollars

    def contributions(self, x: Features) -> tuple[float, Floats]:
        """Says what each feature adds to the guesses.

        Integrated gradients on the way from a house that is average in everything (Sundararajan,
        Taly and Yan 2017, "Axiomatic Attribution for Deep Networks", ICML): along it all turns of a
        wave grow alike, so each feature has the share of the wave that it has in the turns.

        Args:
            x: As `predict` takes it, shape (rows, features).

        Returns:
            The guess for the average house, and dollars of shape (rows, features) that add up with
            it to the guesses.
        """
        z = self._standardised(x)
        turned = self._turned(z)
        average = _wave(self.starts[None, :].copy()) * self.heights
        grown = _wave(turned + self.starts) * self.heights - average
        by_turn = np.divide(grown, turned, out=np.zeros_like(grown), where=turned != 0)
        return self.level + float(average.sum()), z * (self.slopes + by_turn @ self.turns.T)

    def dump(self) -> str:
        """The guess as text."""
        return _Kept(
            mean=tuple(self.mean.tolist()),
            scale=tuple(self.scale.tolist()),
            turns=tuple(map(tuple, self.turns.tolist())),
            starts=tuple(self.starts.tolist()),
            slopes=tuple(self.slopes.tolist()),
            heights=tuple(self.heights.tolist()),
            level=self.level,
        ).model_dump_json()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what `dump` wrote.

        Raises:
            ValueError: It did not write this.
        """
        kept = _Kept.model_validate_json(text)
        return cls(
            mean=np.array(kept.mean, dtype=np.float32),
            scale=np.array(kept.scale, dtype=np.float32),
            turns=np.array(kept.turns, dtype=np.float32),
            starts=np.array(kept.starts, dtype=np.float32),
            slopes=np.array(kept.slopes),
            heights=np.array(kept.heights),
            level=kept.level,
        )

    def _coefficients(self, parts: Iterable[Features], prices: Floats) -> Floats:
        """Slopes, heights and level, in whole dollars.

        Rounded, because the last digits depend on how many threads add up.
        """
        size = len(self.mean) + len(self.starts) + 1
        squares, sums = np.zeros((size, size)), np.zeros(size)
        middle = prices.mean()
        start = 0
        for some in _chunks(parts):
            z = self._standardised(some)
            terms = np.hstack([z, self._waves(z), np.ones((len(z), 1))]).astype(np.float64)
            squares += terms.T @ terms
            sums += terms.T @ (prices[start : start + len(some)] - middle)
            start += len(some)
        # The level is not held down.
        found = np.linalg.solve(squares + np.diag([RIDGE] * (size - 1) + [0.0]), sums)
        found[-1] += middle
        return np.round(found)

    def _standardised(self, x: Features) -> Features:
        z = np.clip((x - self.mean) / self.scale, -LIMIT, LIMIT)
        return _rounded(np.nan_to_num(z, copy=False), STEPS)

    def _waves(self, z: Features) -> Features:
        """How high each wave stands, shape (rows, waves)."""
        turns = self._turned(z)
        turns += self.starts
        return _wave(turns)

    def _turned(self, z: Features) -> Features:
        """How far each wave has turned since the means, shape (rows, waves)."""
        turned: Features = z @ self.turns
        return turned


def _moments(parts: Iterable[Features]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of what is there of each feature, some rows at a time."""

    def mean_of(values: Callable[[Features], Floats]) -> Floats:
        sums, rows = np.float64(0), np.int64(0)
        for some in _chunks(parts):
            known = np.isfinite(some)
            sums = sums + np.where(known, values(some), 0).sum(axis=0)
            rows = rows + known.sum(axis=0)
        found: Floats = sums / np.maximum(rows, 1)
        return found

    mean = mean_of(lambda some: some.astype(np.float64))
    return mean, np.sqrt(mean_of(lambda some: (some - mean) ** 2))


def _chunks(parts: Iterable[Features]) -> Iterator[Features]:
    """The parts, cut into what a processor's cache holds."""
    for part in parts:
        for start in range(0, len(part), CHUNK):
            yield part[start : start + CHUNK]


def _rounded(values: Floats | Features, steps: int) -> Features:
    rounded: Features = (np.rint(values * steps) / steps).astype(np.float32)
    return rounded


def _wave(turns: Features) -> Features:
    """A sine of so many turns to within 6 %, of parabolas: sines differ between processors.

    Args:
        turns: In their place are the waves afterwards, for copies take most of the time.
    """
    turns -= np.rint(turns)
    bend = np.abs(turns)
    bend *= -16
    bend += 8
    turns *= bend
    return turns

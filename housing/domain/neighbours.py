"""What the nearest training rows cost: further features of a candidate.

The price of a house is close to the prices around it, which trees can only learn place by place.
So statistics of the prices of the nearest training rows are handed to them as features, for two
meanings of near: ``near`` on the map, ``alike`` on the map and in some attributes together.

A training row never sees its own price, nor the price of a row with the same identity: rows of one
identity share a side of the split, so no other row finds its own identity among the training rows
either. All other rows see all training rows. Training, evaluation, batch scoring and the served
model use this code, and each row is looked at alone: its features are the same bits whatever rows
it comes with.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from housing.domain.chunks import in_chunks
from housing.domain.columns import Frozen
from housing.domain.config import NeighbourParams
from housing.domain.features import Transform
from housing.domain.formulas import EARTH_RADIUS, Scale
from housing.domain.nearest import (
    Column,
    Features,
    Floats,
    Found,
    Own,
    nearest,
    statistic_names,
    statistics,
    surroundings,
    tree_of,
)
from housing.domain.tables import Table
from housing.errors import ModelError

if TYPE_CHECKING:
    from scipy.spatial import KDTree

LEVELS: Final = 201
"""Quantiles by which the distribution of an attribute is described."""
SPREAD: Final = math.sqrt(12)
"""Standard deviations of a uniform distribution in its width."""
SLACK: Final = 2.0
"""Share by which alike rows may be farther than the nearest ones: the search among so many
dimensions then takes less than half of the time, and validation hardly tells the difference."""
STRIP: Final = 10.0
"""Height in km of the strips of the map in which rows are looked up."""


class _Kept(Frozen):
    """What is written into a model's file; the rows and prices are base64 of little-endian bytes.

    Attributes:
        settings: See `Neighbours`.
        location: See `Neighbours`.
        scales: See `Neighbours`.
        rows: Float32, row by row.
        prices: Float64.
    """

    settings: NeighbourParams
    location: tuple[str, str]
    scales: dict[str, Scale]
    rows: str
    prices: str


@dataclass(frozen=True)
class Neighbours:
    """The training rows that have a location, and what is asked about the nearest of them.

    Attributes:
        settings: Of the candidate; no count is above the number of rows that can be found.
        location: Names of the features that hold latitude and longitude.
        scales: How those, and the column `settings.per`, were standardised.
        rows: Features of the training rows, in the order of `columns`, shape (rows, columns).
        prices: Their prices in dollars, shape (rows,).
    """

    settings: NeighbourParams
    location: tuple[str, str]
    scales: Mapping[str, Scale]
    rows: Features
    prices: Floats

    @classmethod
    def fit(cls, train: Table, transform: Transform, settings: NeighbourParams) -> Self:
        """Takes in the training rows.

        Args:
            train: The training rows, as the feature stage wrote them.
            transform: The transformation that made them.
            settings: Of the candidate.

        Raises:
            ModelError: The table has no location, or too few rows have one.
        """
        hint = "take the candidate out of candidates in params.yaml"
        if transform.location is None:
            raise ModelError("neighbours need a table with a latitude and a longitude", hint)
        scaled = {*transform.location, *([settings.per] if settings.per else [])}
        found = cls(
            settings=settings,
            location=transform.location,
            scales={name: transform.numbers[name] for name in sorted(scaled)},
            rows=np.concatenate([*train.parts(_columns(transform.location, settings))]),
            prices=train.y,
        )
        located = found._located(found.rows)
        ids = train.identities[located]
        largest = int(np.bincount(ids).max()) if ids.size else 0
        if ids.size <= largest:
            raise ModelError(f"only {largest} training row(s) have neighbours on the map", hint)
        counts = {
            name: tuple(sorted({min(count, ids.size - largest) for count in asked}))
            for name, asked in (
                ("near", settings.near),
                ("alike", settings.alike),
                ("around", settings.around),
            )
        }
        return cls(
            settings=settings.model_copy(update=counts),
            location=found.location,
            scales=found.scales,
            rows=found.rows[located],
            prices=found.prices[located],
        )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The features that are needed of a row, in their order."""
        return _columns(self.location, self.settings)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features that are made, in their order."""
        prices = tuple(
            f"{space}_{count}_{name}"
            for space, counts in (("near", self.settings.near), ("alike", self.settings.alike))
            for count in counts
            for name in statistic_names(self.settings.per)
        )
        return prices + tuple(
            f"around_{count}_{name}{kind}"
            for name in self.settings.attributes
            for count in self.settings.around
            for kind in ("", "_above")
        )

    def apply(self, x: Features) -> Features:
        """Makes the features of rows that are no training rows.

        Args:
            x: Their features in the order of `columns`, shape (rows, columns).

        Returns:
            The features called `names`, shape (rows, names): dollars, for ``reach`` km on the map
            or weighted standard deviations. NaN for a row without a location.
        """
        return self._apply(x, None)

    def apply_to_training(self, train: Table) -> Iterator[Features]:
        """Makes the features of the training rows, without the prices of their own identity.

        Args:
            train: The table that `fit` got.

        Yields:
            Those of one of the table's parts after the other, each as `apply` returns them.
        """
        located = [self._located(x) for x in train.parts(self.columns[:2])]
        of_rows = train.identities[np.concatenate(located)]
        sizes = np.bincount(of_rows, minlength=int(train.identities.max()) + 1)
        start = 0
        for x in train.parts(self.columns):
            codes = train.identities[start : start + len(x)]
            yield self._apply(x, Own(codes, sizes[codes], of_rows))
            start += len(x)

    def most_similar(self, row: Features, count: int) -> tuple[NDArray[np.intp], Floats]:
        """Finds the training rows nearest to a row, with attributes where there are any.

        Args:
            row: Its features in the order of `columns`, with a location, shape (columns,).
            count: How many are wanted.

        Returns:
            Their numbers, the most similar first, and their distances on the map in km.
        """
        x = row[None, :]
        here = self._places(x)
        asked = min(count, len(self.prices))
        if self.settings.alike:
            index = nearest(self._mixed, self._mix(x), asked).index[0]
        else:
            index = nearest(self._map, here, asked).index[0]
        apart = self._places(self.rows[index]) - here
        return index, np.sqrt((apart**2).sum(axis=1))

    def dump(self) -> str:
        """The neighbours as text."""
        kept = _Kept(
            settings=self.settings,
            location=self.location,
            scales=dict(self.scales),
            rows=base64.b64encode(self.rows.astype("<f4").tobytes()).decode(),
            prices=base64.b64encode(self.prices.astype("<f8").tobytes()).decode(),
        )
        return kept.model_dump_json()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what `dump` wrote.

        Raises:
            ValueError: It did not write this.
        """
        kept = _Kept.model_validate_json(text)
        rows = np.frombuffer(base64.b64decode(kept.rows), dtype="<f4").astype(np.float32)
        prices = np.frombuffer(base64.b64decode(kept.prices), dtype="<f8").astype(np.float64)
        columns = len(_columns(kept.location, kept.settings))
        return cls(
            kept.settings, kept.location, kept.scales, rows.reshape(len(prices), columns), prices
        )

    def in_order(self, x: Features) -> NDArray[np.intp]:
        """Numbers of rows from west to east, in strips from south to north.

        Rows that are near each other are looked up one after the other, where what the last search
        read is still in the processor's cache: a quarter of the time of all searches.

        Args:
            x: As `apply` takes it.
        """
        north, east = self._places(x).T
        return np.lexsort((east, np.floor(north / STRIP)))

    def _apply(self, x: Features, own: Own | None) -> Features:
        made = np.empty((len(x), len(self.names)), dtype=np.float32)
        located = self._located(x)
        made[~located] = np.nan

        def make(some: NDArray[np.intp]) -> None:
            if some.size == 1:  # the statistics add a lone row up in another order
                some = np.repeat(some, 2)
            mine = None if own is None else own.of(some)
            made[some] = self._features(x[some], mine).T

        order = self.in_order(x)
        in_chunks(order[located[order]], make)
        return made

    def _features(self, x: Features, own: Own | None) -> Floats:
        """The columns of `names`, for rows with a location, shape (names, rows)."""
        places = self._places(x)
        near, alike, around = self.settings.near, self.settings.alike, self.settings.around
        on_map = nearest(self._map, places, max(1, *near, *around), own)
        made: list[Floats | Features] = [self._statistics(x, on_map, near)] if near else []
        if alike:
            found = nearest(self._mixed, self._mix(x), alike[-1], own, SLACK)
            made.append(self._statistics(x, found, alike))
        if around and self.settings.attributes:
            values = np.take(self._around, on_map.index.T, axis=0)
            made.append(surroundings(on_map.away, values, self._known_attributes(x), around))
        return np.concatenate(made)

    def _statistics(self, x: Features, found: Found, counts: tuple[int, ...]) -> Floats:
        per = None
        if self.settings.per:
            unit = self.scales[self.settings.per].scale
            per = Column(self._unscaled(x), self._per[found.index], unit)
        return statistics(found.away, self.prices[found.index], per, counts)

    @cached_property
    def _map(self) -> KDTree:
        return tree_of(self._places(self.rows))

    @cached_property
    def _mixed(self) -> KDTree:
        return tree_of(self._mix(self.rows))

    @cached_property
    def _per(self) -> Floats:
        return self._unscaled(self.rows)

    @cached_property
    def _around(self) -> Features:
        return self._known_attributes(self.rows)

    @cached_property
    def _levels(self) -> list[Floats]:
        """Quantiles of each attribute among the training rows."""
        steps = np.linspace(0, 1, LEVELS)
        known = [column[np.isfinite(column)] for column in self._of_attributes(self.rows)]
        return [np.quantile(some, steps) if some.size else np.zeros(LEVELS) for some in known]

    def _places(self, x: Features) -> Floats:
        """Places on the map in km: a projection that is true around the mean latitude."""
        north, east = (self.scales[name] for name in self.location)
        km = math.radians(1) * EARTH_RADIUS
        axes = [north.scale * km, east.scale * km * math.cos(math.radians(north.mean))]
        places: Floats = x[:, :2].astype(np.float64) * np.array(axes)
        return places

    def _mix(self, x: Features) -> Floats:
        """Points of the map and the attributes together."""
        return np.hstack([self._places(x) / self.settings.km, self._attributes(x)])

    def _located(self, x: Features) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(x[:, :2]).all(axis=1))

    def _attributes(self, x: Features) -> Floats:
        """Attributes by their rank among the training rows, for many have a long tail.

        One standard deviation of the ranks is as long as the attribute's weight. What is missing
        counts as the middle.
        """
        ranks = np.linspace(-SPREAD / 2, SPREAD / 2, LEVELS)
        columns = [
            np.where(np.isfinite(values), np.interp(values, levels, ranks), 0.0) * weight
            for values, levels, weight in zip(
                self._of_attributes(x),
                self._levels,
                self.settings.attributes.values(),
                strict=True,
            )
        ]
        return np.column_stack(columns) if columns else np.empty((len(x), 0))

    def _known_attributes(self, x: Features) -> Features:
        """The attributes as they were standardised; what is missing counts as the mean."""
        return np.nan_to_num(np.column_stack(self._of_attributes(x)))

    def _of_attributes(self, x: Features) -> list[Features]:
        return [x[:, self.columns.index(name)] for name in self.settings.attributes]

    def _unscaled(self, x: Features) -> Floats:
        """The column `settings.per` in its own unit."""
        name = str(self.settings.per)
        values = x[:, self.columns.index(name)].astype(np.float64)
        return values * self.scales[name].scale + self.scales[name].mean


def _columns(location: tuple[str, str], settings: NeighbourParams) -> tuple[str, ...]:
    own = [*settings.attributes, *([settings.per] if settings.per else [])]
    return (*location, *(name for name in dict.fromkeys(own) if name not in location))

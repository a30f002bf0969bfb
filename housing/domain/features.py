"""From the columns of a house to what a model sees: one transformation for every use.

Training, evaluation and batch scoring apply the same ``Transform``. It is fitted on training rows
only, kept as readable JSON, and looks at one row at a time, so a table, a batch of it and a single
house give the same numbers.

One feature is made of prices: what houses with the same text in a column cost on average. A
training row gets that average from training rows of other identities alone (see
``Transform.apply_to_training``), or it would find its own price among its features.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from housing.domain.columns import ColumnType, DataParams, Frozen
from housing.domain.config import Coordinates, Params
from housing.domain.formulas import (
    MeanPrices,
    Scale,
    direction,
    distance,
    mean_price,
    of_date,
    rotated,
    standardised,
    years,
)
from housing.domain.tables import LATITUDE, LONGITUDE, META, ROW, TARGET
from housing.errors import ConfigError, DataError

VERSION: Final = 2
"""Version of the format of ``transform.json``."""

FOLDS: Final = 5
"""Parts of the training rows; the mean prices of one are made from the others."""
PRIOR_ROWS: Final = 5
"""Rows at the mean price of all that are added to the rows of each text."""

BATCH: Final = 2**16
"""Rows that are turned into features at a time."""


@dataclass(frozen=True, eq=False)  # expressions cannot be compared
class _Selections:
    """The features as selections, one after the other, so that no number is made twice.

    Attributes:
        columns: What the features are made of.
        made: The features before they are standardised.
    """

    columns: list[pl.Expr]
    made: list[pl.Expr]


class Transform(Frozen):
    """Everything that turns the columns of a house into features.

    Attributes:
        version: Format of this file.
        inputs: Type of each column that is needed.
        location: Names of the latitude and longitude columns, in degrees.
        ratios: Numerator and denominator of each ratio.
        ages: Later and earlier column of each age, which is in years: dates, or numbers of years.
        places: Latitude and longitude of each place whose distance (km) is a feature.
        rotations: Degrees by which the map is turned; each gives two features.
        numbers: How each numeric feature is standardised, in the order of the features.
        categories: Values of each string column that have a feature of their own; all features of
            any other value, and of a missing one, are 0.
        prices: Mean prices by the text of each string column.
    """

    version: Literal[2] = VERSION
    inputs: dict[str, ColumnType]
    location: tuple[str, str] | None
    ratios: dict[str, tuple[str, str]]
    ages: dict[str, tuple[str, str]]
    places: dict[str, Coordinates]
    rotations: tuple[float, ...]
    numbers: dict[str, Scale]
    categories: dict[str, tuple[str, ...]]
    prices: dict[str, MeanPrices]

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the order the model sees them."""
        return tuple(expression.meta.output_name() for expression in self._selections.made)

    @classmethod
    def fit(cls, train: pl.DataFrame, params: Params) -> Self:
        """Learns means, scales, categories and their prices from the training rows.

        Args:
            train: Training rows with the columns of ``data.columns``.
            params: Which columns there are, and which features to make of them.

        Raises:
            ConfigError: Two features would have the same name.
            DataError: A column is missing.
        """
        data, made = params.data, params.features
        inputs = {name: data.columns[name].type for name in data.inputs}
        blank = cls(
            inputs=inputs,
            location=data.location,
            ratios=made.ratios,
            ages=made.ages,
            places=made.places,
            rotations=made.rotations,
            numbers={},
            categories={},
            prices={},
        )
        _require(train.columns, inputs)
        texts = [name for name, kind in inputs.items() if kind == "string"]
        blank = blank.model_copy(update={"prices": _fit_prices(train, texts, data.target)})
        fitted = blank.model_copy(
            update={
                "numbers": _fit_numbers(train.select(blank._columns), blank._numbers()),
                "categories": {
                    name: _fit_categories(train[name], made.max_categories) for name in texts
                },
            }
        )
        names = Counter((*META, *fitted.features))
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ConfigError(f"two features are called {twice[0]!r}", "rename one in params.yaml")
        return fitted

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Turns raw columns into a table of features.

        Args:
            frame: Rows with at least the columns of ``inputs``.

        Returns:
            One Float32 column for each feature and nothing else, rows in the same order, NaN where
            a number is missing.

        Raises:
            DataError: A column is missing.
        """
        return pl.DataFrame(self.matrix(frame), schema=list(self.features))

    def matrix(self, frame: pl.DataFrame) -> NDArray[np.float32]:
        """Turns raw columns into features as a model takes them.

        Args:
            frame: Rows with at least the columns of ``inputs``.

        Returns:
            Shape (rows, features), NaN where a number is missing.

        Raises:
            DataError: A column is missing.
        """
        _require(frame.columns, self.inputs)
        x = np.empty((frame.height, len(self.features)), dtype=np.float32)
        # Before they are standardised, all numbers take twice the memory.
        for start in range(0, frame.height, BATCH):
            numbers = frame[start : start + BATCH]
            # One expression after the other: to hand them to threads takes longer than a house.
            for selection in (self._selections.columns, self._selections.made):
                numbers = numbers.select_seq(selection)
            x[start : start + BATCH] = standardised(numbers.to_numpy(order="c"), self._scales)
        return x

    def apply_to_training(self, train: pl.DataFrame, ids: pl.Series, target: str) -> pl.DataFrame:
        """Turns the training rows into features, each without the prices of its own identity.

        Cross-fitting: the rows are parted by their identity, and the mean prices of each part are
        those of the other parts (Micci-Barreca 2001, "A Preprocessing Scheme for High-Cardinality
        Categorical Attributes", SIGKDD Explorations 3:27; out of fold as scikit-learn's
        ``TargetEncoder`` does it).

        Args:
            train: The rows that ``fit`` got.
            ids: The hash of each row's identity.
            target: Name of the price's column, in dollars.

        Returns:
            As ``apply``.
        """
        if not self.prices:
            return self.apply(train)
        fold = pl.Series([int(row, 16) % FOLDS for row in ids], dtype=pl.Int64)
        parts = []
        for number in range(FOLDS):
            others = _fit_prices(train.filter(fold != number), list(self.prices), target)
            own = train.filter(fold == number)
            parts.append(self.model_copy(update={"prices": others}).apply(own))
        # The parts lie one behind the other: this is where each row has come to stand.
        return pl.concat(parts)[np.argsort(np.argsort(fold, kind="stable"), kind="stable")]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copies the fields as pydantic does, without the cached properties that came of them."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def save(self, path: Path) -> None:
        """Writes the transformation as readable JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what ``save`` wrote.

        Raises:
            DataError: The file is missing, damaged, or of another version.
        """
        hint = "dvc repro --force"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.get("version") if isinstance(content, dict) else None
            if version != VERSION:
                raise DataError(f"{path} has version {version!r}, not {VERSION}", hint)
            return cls.model_validate(content)
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist", hint) from error
        except (ValidationError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}", hint) from error

    @cached_property
    def _selections(self) -> _Selections:
        """The expressions; to make them takes a millisecond, so a transformation does it once."""
        raw = self._numbers()
        made = [raw[name].alias(name) for name in self.numbers]
        made += [
            (pl.col(column) == level)
            .fill_null(value=False)
            .cast(pl.Float64)
            .alias(f"{column}={level}")
            for column, known in self.categories.items()
            for level in known
        ]
        return _Selections(self._columns, made)

    @cached_property
    def _scales(self) -> list[Scale]:
        """Of each feature; a category stays 0 or 1."""
        as_it_is = Scale(mean=0.0, scale=1.0)
        return [self.numbers.get(name, as_it_is) for name in self.features]

    @property
    def _columns(self) -> list[pl.Expr]:
        """What features are made of: numbers of every kind as Float64, and where a house stands."""
        columns = {
            name: pl.col(name) if kind in {"date", "string"} else pl.col(name).cast(pl.Float64)
            for name, kind in self.inputs.items()
        }
        if self.location is not None:
            columns |= direction(*(columns[name] for name in self.location))
        return [column.alias(name) for name, column in columns.items()]

    def _numbers(self) -> dict[str, pl.Expr]:
        """Every numeric feature before it is standardised, by name, made of `_columns`."""
        columns = {
            name: years(name) if kind == "date" else pl.col(name)
            for name, kind in self.inputs.items()
            if kind != "string"
        }
        named = []
        for name, number in columns.items():
            named += of_date(name) if self.inputs[name] == "date" else [(name, number)]
        named += [(f"{name}_price", mean_price(name, known)) for name, known in self.prices.items()]
        named += [(name, columns[to] - columns[since]) for name, (to, since) in self.ages.items()]
        named += [(name, columns[top] / columns[low]) for name, (top, low) in self.ratios.items()]
        if self.location is not None:
            latitude, longitude = (columns[name] for name in self.location)
            named += [(f"km_to_{name}", distance(place)) for name, place in self.places.items()]
            for degrees in self.rotations:
                named += rotated(latitude, longitude, degrees)
        return dict(named)


def label(
    frame: pl.DataFrame, ids: pl.Series, features: pl.DataFrame, data: DataParams
) -> pl.DataFrame:
    """Makes one side of the split as ``housing.domain.tables`` lays it out.

    Args:
        frame: Raw rows of this side.
        ids: The hash of each row's identity.
        features: What a ``Transform`` made of them.
        data: Says which columns hold the price and the location.
    """
    meta = [ids.alias(ROW), frame[data.target].cast(pl.Float64).alias(TARGET)]
    if data.location is not None:
        names = zip(data.location, (LATITUDE, LONGITUDE), strict=True)
        meta += [frame[column].cast(pl.Float64).alias(name) for column, name in names]
    return features.with_columns(meta)


def _fit_numbers(train: pl.DataFrame, numbers: dict[str, pl.Expr]) -> dict[str, Scale]:
    scales = {}
    for name, expression in numbers.items():
        values = train.select(expression.alias("value")).to_series()
        # Sums of Polars depend on how it cut the column into chunks, those of NumPy do not.
        known = values.filter(values.is_finite()).to_numpy()
        mean = float(known.mean()) if known.size else 0.0
        spread = float(known.std()) if known.size else 0.0
        # A column that is constant or empty among the training rows keeps its unit.
        scales[name] = Scale(mean=mean, scale=spread or 1.0)
    return scales


def _fit_categories(values: pl.Series, most: int) -> tuple[str, ...]:
    """The most frequent values, in alphabetical order; a tie goes by the alphabet too."""
    counts = Counter(values.drop_nulls().to_list())
    ranked = sorted(counts, key=lambda level: (-counts[level], level))
    return tuple(sorted(ranked[:most]))


def _fit_prices(train: pl.DataFrame, texts: list[str], target: str) -> dict[str, MeanPrices]:
    overall = float(train[target].to_numpy().mean()) if train.height else 0.0
    found = {}
    for name in texts:
        prices: dict[str, list[float]] = {}
        for text, price in train.select(name, target).drop_nulls(name).iter_rows():
            prices.setdefault(text, []).append(price)
        # A text that stands at one house only says nothing of others.
        known = {
            text: (math.fsum(some) + PRIOR_ROWS * overall) / (len(some) + PRIOR_ROWS)
            for text, some in sorted(prices.items())
            if len(some) > 1
        }
        found[name] = MeanPrices(overall=overall, known=known)
    return found


def _require(present: list[str], needed: dict[str, ColumnType]) -> None:
    missing = [name for name in needed if name not in present]
    if missing:
        raise DataError(
            f"the table lacks the column(s) {', '.join(missing)}",
            "compare its header with data.columns in params.yaml",
        )

"""A trained candidate: kept as one file, and asked for prices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import NDArray

from housing.domain.chunks import in_chunks
from housing.domain.nearest import Features
from housing.domain.neighbours import Neighbours
from housing.domain.smooth import Smooth
from housing.errors import ModelError

if TYPE_CHECKING:
    from xgboost import Booster

# Attributes of the booster: text that XGBoost keeps in the model's file.
_FEATURES = "features"
_NEIGHBOURS = "neighbours"
_SMOOTH = "smooth"


@dataclass(frozen=True)
class Model:
    """A trained booster that knows its features.

    Attributes:
        booster: XGBoost's model.
        features: Names of its features, in its order. They are no feature names of the booster:
            XGBoost forbids some letters that a category may hold.
        neighbours: Makes further features, which the booster takes after those; None where it
            takes none.
        smooth: A first guess, to which the booster adds; None where the booster gives all.
    """

    booster: Booster
    features: tuple[str, ...]
    neighbours: Neighbours | None = None
    smooth: Smooth | None = None

    def __post_init__(self) -> None:
        """Leaves the threads to `predict`, which prices some rows in each."""
        if not self._linear:
            self.booster.set_param({"nthread": 1})

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predicts prices, on all cores where there are many rows.

        Args:
            x: Feature values in the order of ``features``, shape (rows, features), NaN where
                a value is missing.

        Returns:
            Prices in dollars, shape (rows,).

        Raises:
            ModelError: The number of features is wrong.
        """
        if x.shape[1:] != (len(self.features),):
            raise ModelError(
                f"the model takes {len(self.features)} features, but got an array of {x.shape}",
                "dvc repro",
            )
        dollars = np.empty(len(x))

        def price(some: NDArray[np.intp] | slice) -> None:
            complete = self._complete(x[some])
            guess = 0.0 if self.smooth is None else self.smooth.predict(complete)
            dollars[some] = self._boosted(complete) + guess

        if self._linear:  # XGBoost lets several threads ask trees only
            price(slice(None))
        elif self.neighbours is None:
            in_chunks(np.arange(len(x)), price)
        else:
            in_chunks(self.neighbours.in_order(self.needed(x)), price)
        return dollars

    def contributions(
        self, x: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Says what each feature adds to the prices.

        Shapley values, as XGBoost gives them, and with a smooth guess `Smooth.contributions`.

        Args:
            x: As `predict` takes it, shape (rows, features).

        Returns:
            What the model answers on average, and what each feature adds to it, in dollars; each
            of shape (rows,).
        """
        from xgboost import DMatrix

        complete = self._complete(x)
        added = self.booster.predict(DMatrix(complete), pred_contribs=True)
        *columns, base = np.asarray(added, dtype=np.float64).T
        if self.smooth is not None:
            average, dollars = self.smooth.contributions(complete)
            base, columns = base + average, [*(np.array(columns) + dollars.T)]
        return base, dict(zip(self._names, columns, strict=True))

    def needed(self, x: Features) -> Features:
        """The features that neighbours are found by, shape (rows, columns of the neighbours)."""
        return x[:, _places(self.features, self.neighbours)]

    def importance(self) -> dict[str, float]:
        """Share of each feature in what the model does, the largest first; the shares add up to 1.

        For trees the share in the gain of all splits, for a linear model the share in the absolute
        weights, which compare because the features are standardised. What a smooth guess does is
        not counted. A model that uses no feature gives 0 for each.
        """
        kind = "weight" if self._linear else "total_gain"
        scores = self.booster.get_score(importance_type=kind)
        sizes = {
            # XGBoost types a score as a list too, for models of several outputs.
            name: abs(cast(float, scores.get(f"f{index}", 0.0)))
            for index, name in enumerate(self._names)
        }
        total = sum(sizes.values()) or 1.0
        ranked = sorted(sizes, key=lambda name: (-sizes[name], name))
        return {name: sizes[name] / total for name in ranked}

    def save(self, path: Path) -> None:
        """Writes the model in XGBoost's own UBJSON format."""
        self.booster.set_attr(**{_FEATURES: json.dumps(self.features)})
        if self.neighbours is not None:
            self.booster.set_attr(**{_NEIGHBOURS: self.neighbours.dump()})
        if self.smooth is not None:
            self.booster.set_attr(**{_SMOOTH: self.smooth.dump()})
        self.booster.save_model(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what ``save`` wrote.

        Raises:
            ModelError: The file is missing, is no model, or is none of this project.
        """
        from xgboost import Booster
        from xgboost.core import XGBoostError

        if not path.is_file():
            raise ModelError(f"{path} does not exist", "dvc repro")
        try:
            booster = Booster(model_file=path)
        except XGBoostError as error:
            fact = f"{path} is no model of XGBoost: {first_line(error)}"
            raise ModelError(fact, "dvc repro --force") from error
        features, neighbours = booster.attr(_FEATURES), booster.attr(_NEIGHBOURS)
        smooth = booster.attr(_SMOOTH)
        if features is None:
            raise ModelError(f"{path} does not name its features", "dvc repro --force")
        try:
            found = None if neighbours is None else Neighbours.parse(neighbours)
        except ValueError as error:
            raise ModelError(f"{path} has damaged neighbours", "dvc repro --force") from error
        try:
            guess = None if smooth is None else Smooth.parse(smooth)
        except ValueError as error:
            raise ModelError(f"{path} has a damaged guess", "dvc repro --force") from error
        return cls(booster, tuple(json.loads(features)), found, guess)

    def _boosted(self, complete: Features) -> NDArray[np.float64]:
        from xgboost import DMatrix

        if self._linear:  # XGBoost reads arrays in place for trees only
            return np.asarray(self.booster.predict(DMatrix(complete)), dtype=np.float64)
        added = self.booster.inplace_predict(complete, validate_features=False)
        return np.asarray(added, dtype=np.float64)

    @cached_property
    def _linear(self) -> bool:
        config = json.loads(self.booster.save_config())
        return bool(config["learner"]["gradient_booster"]["name"] == "gblinear")

    @property
    def _names(self) -> tuple[str, ...]:
        """Names of all features of the booster."""
        return self.features + (self.neighbours.names if self.neighbours else ())

    def _complete(self, x: Features) -> Features:
        return completed(x, self.features, self.neighbours)


def completed(x: Features, features: tuple[str, ...], neighbours: Neighbours | None) -> Features:
    """Makes all features of rows that nothing was learned from.

    Args:
        x: Feature values in the order of ``features``, shape (rows, features).
        features: Their names.
        neighbours: Makes further features, or None.

    Returns:
        The features of the table, then those of the neighbours, shape (rows, all features).
    """
    if neighbours is None:
        return x
    return np.hstack([x, neighbours.apply(x[:, _places(features, neighbours)])])


def _places(features: tuple[str, ...], neighbours: Neighbours | None) -> list[int]:
    """Where the features stand that neighbours are found by."""
    return [features.index(name) for name in (neighbours.columns if neighbours else ())]


def first_line(error: Exception) -> str:
    """What XGBoost says without its stack of C++ functions."""
    return str(error).partition("\n")[0]

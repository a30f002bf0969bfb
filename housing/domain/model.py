"""One candidate: trained, kept as one file, and asked for prices.

The same data, settings and seed give the same file bit for bit. Hence one thread: sums over several
depend on their number, and with fewer than 20 thousand rows one is the faster anyway.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from housing.domain.config import CandidateParams
from housing.domain.features import Transform
from housing.domain.nearest import FEW, Features
from housing.domain.neighbours import Neighbours
from housing.domain.tables import Table
from housing.errors import ModelError

if TYPE_CHECKING:
    from xgboost import Booster, DMatrix

# Attributes of the booster: text that XGBoost keeps in the model's file.
_FEATURES = "features"
_NEIGHBOURS = "neighbours"


@dataclass(frozen=True)
class Model:
    """A trained booster that knows its features.

    Attributes:
        booster: XGBoost's model.
        features: Names of its features, in its order. They are no feature names of the booster:
            XGBoost forbids some letters that a category may hold.
        neighbours: Makes further features, which the booster takes after those; None where it
            takes none.
    """

    booster: Booster
    features: tuple[str, ...]
    neighbours: Neighbours | None = None

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
        from xgboost import DMatrix

        if x.shape[1:] != (len(self.features),):
            raise ModelError(
                f"the model takes {len(self.features)} features, but got an array of {x.shape}",
                "dvc repro",
            )
        few = len(x) < FEW
        self.booster.set_param({"nthread": 1 if few else 0})
        matrix = DMatrix(self._complete(x), nthread=1 if few else None)
        return np.asarray(self.booster.predict(matrix), dtype=np.float64)

    def contributions(
        self, x: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Says what each feature adds to the prices (Shapley values, as XGBoost gives them).

        Args:
            x: As `predict` takes it, shape (rows, features).

        Returns:
            What the model answers on average, and what each feature adds to it, in dollars; each
            of shape (rows,).
        """
        from xgboost import DMatrix

        added = self.booster.predict(DMatrix(self._complete(x)), pred_contribs=True)
        *columns, base = np.asarray(added, dtype=np.float64).T
        return base, dict(zip(self._names, columns, strict=True))

    def importance(self) -> dict[str, float]:
        """Share of each feature in what the model does, the largest first; the shares add up to 1.

        For trees the share in the gain of all splits, for a linear model the share in the absolute
        weights, which compare because the features are standardised. A model that uses no feature
        gives 0 for each.
        """
        linear = _booster_name(self.booster) == "gblinear"
        scores = self.booster.get_score(importance_type="weight" if linear else "total_gain")
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
            fact = f"{path} is no model of XGBoost: {_first_line(error)}"
            raise ModelError(fact, "dvc repro --force") from error
        features, neighbours = booster.attr(_FEATURES), booster.attr(_NEIGHBOURS)
        if features is None:
            raise ModelError(f"{path} does not name its features", "dvc repro --force")
        try:
            found = None if neighbours is None else Neighbours.parse(neighbours)
        except ValueError as error:
            raise ModelError(f"{path} has damaged neighbours", "dvc repro --force") from error
        return cls(booster, tuple(json.loads(features)), found)

    def needed(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features that neighbours are found by, shape (rows, columns of the neighbours)."""
        names = self.neighbours.columns if self.neighbours else ()
        return x[:, [self.features.index(name) for name in names]]

    @property
    def _names(self) -> tuple[str, ...]:
        """Names of all features of the booster."""
        return self.features + (self.neighbours.names if self.neighbours else ())

    def _complete(self, x: Features) -> Features:
        if self.neighbours is None:
            return x
        return np.hstack([x, self.neighbours.apply(self.needed(x))])


@dataclass(frozen=True)
class Step:
    """One point of a learning curve: RMSE in dollars after ``iteration`` + 1 rounds."""

    iteration: int
    train_rmse: float
    validation_rmse: float


@dataclass(frozen=True)
class Training:
    """What came out of training one candidate.

    Attributes:
        model: The model after its best iteration; later ones are cut off.
        best_iteration: The iteration with the lowest validation RMSE, counted from 0.
        curve: Every iteration that was run.
    """

    model: Model
    best_iteration: int
    curve: tuple[Step, ...]


def train(
    settings: CandidateParams,
    train: Table,
    validation: Table,
    seed: int,
    transform: Transform | None = None,
) -> Training:
    """Trains one candidate on the training rows and stops early on the validation rows.

    Args:
        settings: Of the candidate.
        train: Rows to learn from.
        validation: Rows that say when to stop, and nothing else.
        seed: Of the rows and features that each tree sees.
        transform: What made the features; only a candidate with neighbours needs it.

    Raises:
        ModelError: XGBoost refuses the settings or the data, or too few rows have neighbours.
    """
    from xgboost import DMatrix
    from xgboost.core import XGBoostError

    neighbours = None
    x, held_out = train.x, validation.x
    if settings.neighbours is not None and transform is not None:
        neighbours = Neighbours.fit(train, transform, settings.neighbours)
        x = np.hstack([x, neighbours.apply_to_training(train)])
        needed = validation.frame.select(neighbours.columns).to_numpy(order="c")
        held_out = np.hstack([held_out, neighbours.apply(needed)])
    try:
        matrices = {
            "train": DMatrix(x, train.y),
            "validation": DMatrix(held_out, validation.y),
        }
        booster, curve = _boost(settings, matrices, seed, settings.n_estimators)
        best = int(booster.best_iteration)
        if settings.booster == "gbtree":
            booster = booster[: best + 1]
        elif best + 1 < len(curve):
            # A linear booster changes its weights in place: the best ones have to be made again.
            booster, _ = _boost(settings, matrices, seed, best + 1)
    except XGBoostError as error:
        raise ModelError(
            f"XGBoost cannot train: {_first_line(error)}",
            "look at train in params.yaml and at reports/data_quality.json",
        ) from error
    booster.set_attr(**{_FEATURES: json.dumps(train.features)})
    if neighbours is not None:
        booster.set_attr(**{_NEIGHBOURS: neighbours.dump()})
    return Training(Model(booster, train.features, neighbours), best, curve)


def _boost(
    settings: CandidateParams, matrices: dict[str, DMatrix], seed: int, rounds: int
) -> tuple[Booster, tuple[Step, ...]]:
    from xgboost import train as boost

    history: dict[str, dict[str, list[float]]] = {}
    booster = boost(
        _xgboost_params(settings, seed),
        matrices["train"],
        rounds,
        # The last one decides when to stop.
        evals=[(matrices["train"], "train"), (matrices["validation"], "validation")],
        evals_result=history,
        early_stopping_rounds=settings.early_stopping_rounds,
        verbose_eval=False,
    )
    errors = zip(history["train"]["rmse"], history["validation"]["rmse"], strict=True)
    return booster, tuple(Step(i, *pair) for i, pair in enumerate(errors))


def _xgboost_params(settings: CandidateParams, seed: int) -> dict[str, Any]:
    names = {"booster", "learning_rate", "reg_lambda", "reg_alpha"}
    if settings.booster == "gbtree":
        names |= {"max_depth", "min_child_weight", "subsample", "colsample_bytree"}
    chosen = settings.model_dump(include=names)
    return chosen | {
        "objective": "reg:squarederror",
        "eval_metric": "rmse",
        "seed": seed,
        "nthread": 1,
    }


def _booster_name(booster: Booster) -> str:
    config = json.loads(booster.save_config())
    return str(config["learner"]["gradient_booster"]["name"])


def _first_line(error: Exception) -> str:
    """What XGBoost says without its stack of C++ functions."""
    return str(error).partition("\n")[0]

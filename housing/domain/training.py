"""Training of one candidate.

The same data, settings and seed give the same file bit for bit. Hence one thread: sums over several
depend on their number, and with fewer than 20 thousand rows one is the faster anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from housing.domain.config import CandidateParams
from housing.domain.features import Transform
from housing.domain.model import Model, completed, first_line
from housing.domain.nearest import Features
from housing.domain.neighbours import Neighbours
from housing.domain.smooth import Smooth
from housing.domain.tables import Table
from housing.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from xgboost import Booster, DMatrix


@dataclass(frozen=True)
class Step:
    """One point of a learning curve: RMSE in dollars after ``iteration`` + 1 rounds."""

    iteration: int
    train_rmse: float
    validation_rmse: float


@dataclass(frozen=True)
class Stopped:
    """A candidate that learned from the training rows alone, until the validation rows said stop.

    Attributes:
        model: The model after its best iteration.
        best_iteration: The iteration with the lowest validation RMSE, counted from 0.
        curve: Every iteration that was run.
        held_out: Its prices of the validation rows in dollars, shape (rows,).
    """

    model: Model
    best_iteration: int
    curve: tuple[Step, ...]
    held_out: NDArray[np.float64]


@dataclass(frozen=True)
class Training:
    """What came out of training one candidate.

    Attributes:
        model: Learned from the training and the validation rows, in as many iterations as `first`.
        first: Learned from the training rows alone: what it says of the validation rows tells how
            good the candidate is, and how wide its interval.
    """

    model: Model
    first: Stopped


def train(
    settings: CandidateParams,
    train: Table,
    validation: Table,
    seed: int,
    transform: Transform | None = None,
) -> Training:
    """Trains one candidate twice: on the training rows alone, and once more on all rows.

    The second model has learned from more rows, and by a split by time from the newest ones, so it
    is the better one; what the errors of the first say of it is on the safe side.

    Args:
        settings: Of the candidate.
        train: Rows to learn from.
        validation: Rows that say when to stop, and are learned from only afterwards.
        seed: Of the rows and features that each tree sees.
        transform: What made the features; a candidate with neighbours needs it.

    Raises:
        ConfigError: The candidate has neighbours, and nothing says what made the features.
        ModelError: XGBoost refuses the settings or the data, or too few rows have neighbours.
    """
    first = stop_early(settings, train, validation, seed, transform)
    rows = Table.joined(train, validation)
    neighbours, smooth, matrix = _learned_from(settings, rows, seed, transform)
    booster, _ = _boost(settings, matrix, seed, first.best_iteration + 1)
    return Training(Model(booster, rows.features, neighbours, smooth), first)


def stop_early(
    settings: CandidateParams,
    train: Table,
    validation: Table,
    seed: int,
    transform: Transform | None = None,
) -> Stopped:
    """Trains one candidate on the training rows alone, see `train`."""
    neighbours, smooth, matrix = _learned_from(settings, train, seed, transform)
    x = completed(validation.x, train.features, neighbours)
    held_out = _matrix(settings, x, _left(validation, x, smooth), matrix)
    booster, curve = _boost(settings, matrix, seed, settings.n_estimators, held_out)
    best = int(booster.best_iteration)
    if settings.booster == "gbtree":
        booster = booster[: best + 1]
    elif best + 1 < len(curve):
        # A linear booster changes its weights in place: the best ones have to be made again.
        booster, _ = _boost(settings, matrix, seed, best + 1)
    model = Model(booster, train.features, neighbours, smooth)
    return Stopped(model, best, curve, model.predict(validation.x))


def _learned_from(
    settings: CandidateParams, rows: Table, seed: int, transform: Transform | None
) -> tuple[Neighbours | None, Smooth | None, DMatrix]:
    """Makes all that a booster learns from: the features are not kept beside the matrix."""
    neighbours, x = _features(settings, rows, transform)
    smooth = Smooth.fit(x, rows.y, settings.waves, seed) if settings.waves else None
    return neighbours, smooth, _matrix(settings, x, _left(rows, x, smooth))


def _features(
    settings: CandidateParams, rows: Table, transform: Transform | None
) -> tuple[Neighbours | None, Features]:
    """All features of rows to learn from, and what makes those of their neighbours."""
    if settings.neighbours is None:
        return None, rows.x
    if transform is None:
        raise ConfigError(
            "a candidate with neighbours cannot be trained without the features' transform",
            "hand it to train, or take neighbours out of the candidate's settings",
        )
    neighbours = Neighbours.fit(rows, transform, settings.neighbours)
    own = len(rows.features)
    x = np.empty((len(rows.x), own + len(neighbours.names)), dtype=np.float32)
    x[:, :own] = rows.x
    neighbours.apply_to_training(rows, x[:, own:])
    return neighbours, x


def _left(rows: Table, x: Features, smooth: Smooth | None) -> NDArray[np.float64]:
    """What the booster learns: the prices, or what the smooth guess leaves of them."""
    return rows.y if smooth is None else rows.y - smooth.predict(x)


def _matrix(
    settings: CandidateParams,
    x: Features,
    prices: NDArray[np.float64],
    learned_from: DMatrix | None = None,
) -> DMatrix:
    """Hands rows to XGBoost, for trees with a byte for each value, in which they learn.

    Args:
        settings: Of the candidate.
        x: All features, shape (rows, features).
        prices: What is learned, shape (rows,).
        learned_from: The matrix that says where the bytes cut the features; None for that itself.
    """
    from xgboost import DMatrix, QuantileDMatrix

    with _refusals():
        if settings.booster == "gblinear":
            return DMatrix(x, prices)
        return QuantileDMatrix(x, prices, ref=learned_from, nthread=1)


def _boost(
    settings: CandidateParams,
    matrix: DMatrix,
    seed: int,
    rounds: int,
    validation: DMatrix | None = None,
) -> tuple[Booster, tuple[Step, ...]]:
    """Boosts for some rounds, or until the validation RMSE falls no more."""
    from xgboost import train as boost

    history: dict[str, dict[str, list[float]]] = {}
    params = _xgboost_params(settings, seed)
    with _refusals():
        if validation is None:
            return boost(params, matrix, rounds), ()
        booster = boost(
            params,
            matrix,
            rounds,
            # The last one decides when to stop.
            evals=[(matrix, "train"), (validation, "validation")],
            evals_result=history,
            early_stopping_rounds=settings.early_stopping_rounds,
            verbose_eval=False,
        )
    errors = zip(history["train"]["rmse"], history["validation"]["rmse"], strict=True)
    return booster, tuple(Step(i, *pair) for i, pair in enumerate(errors))


@contextmanager
def _refusals() -> Iterator[None]:
    """What XGBoost does not take is a fault of the settings or the data."""
    from xgboost.core import XGBoostError

    try:
        yield
    except XGBoostError as error:
        raise ModelError(
            f"XGBoost cannot train: {first_line(error)}",
            "look at train in params.yaml and at reports/data_quality.json",
        ) from error


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

"""Training of one candidate.

The same data, settings and seed give the same file bit for bit. Hence one thread: sums over several
depend on their number, and with fewer than 20 thousand rows one is the faster anyway.

Of many rows, the features are read and made some at a time and wait in a file, so that memory holds
what XGBoost makes of them and no second copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from housing.domain.config import CandidateParams
from housing.domain.features import Transform
from housing.domain.model import Model, completed, first_line
from housing.domain.nearest import Features, Floats
from housing.domain.neighbours import Neighbours
from housing.domain.smooth import Smooth
from housing.domain.stored import Stored, stored
from housing.domain.tables import Table
from housing.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from xgboost import Booster, DataIter, DMatrix


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
    neighbours, parts = _features(settings, rows, transform)
    with stored(parts) as x:
        neighbours = _at_rest(neighbours)
        smooth, matrix = _learned_from(settings, rows, x, seed)
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
    names = train.features
    neighbours, parts = _features(settings, train, transform)
    unseen = (completed(some, names, neighbours) for some in validation.parts(names))
    with stored(parts) as x, stored(unseen) as held_x:
        neighbours = _at_rest(neighbours)
        smooth, matrix = _learned_from(settings, train, x, seed)
        held_out = _matrix(settings, held_x, _left(validation, held_x, smooth), matrix)
        booster, curve = _boost(settings, matrix, seed, settings.n_estimators, held_out)
        best = int(booster.best_iteration)
        if settings.booster == "gbtree":
            booster = booster[: best + 1]
        elif best + 1 < len(curve):
            # A linear booster changes its weights in place: the best ones have to be made again.
            booster, _ = _boost(settings, matrix, seed, best + 1)
        # What the neighbours tell of the validation rows is among their features already.
        complete = names if neighbours is None else names + neighbours.names
        told = Model(booster, complete, None, smooth)
        prices = np.concatenate([told.predict(some) for some in held_x])
    return Stopped(Model(booster, names, neighbours, smooth), best, curve, prices)


def _learned_from(
    settings: CandidateParams, rows: Table, x: Stored, seed: int
) -> tuple[Smooth | None, DMatrix]:
    """Makes the first guess and what the booster learns from; `x` holds all features of `rows`."""
    smooth = Smooth.fit(x, rows.y, settings.waves, seed) if settings.waves else None
    return smooth, _matrix(settings, x, _left(rows, x, smooth))


def _features(
    settings: CandidateParams, rows: Table, transform: Transform | None
) -> tuple[Neighbours | None, Iterator[Features]]:
    """Parts of all features of rows to learn from, and what makes those of their neighbours."""
    own = rows.parts(rows.features)
    if settings.neighbours is None:
        return None, own
    if transform is None:
        raise ConfigError(
            "a candidate with neighbours cannot be trained without the features' transform",
            "hand it to train, or take neighbours out of the candidate's settings",
        )
    neighbours = Neighbours.fit(rows, transform, settings.neighbours)
    pairs = zip(own, neighbours.apply_to_training(rows), strict=True)
    return neighbours, (np.hstack(pair) for pair in pairs)


def _at_rest(neighbours: Neighbours | None) -> Neighbours | None:
    """The same without the trees of their search, which take more memory than the rows do."""
    return None if neighbours is None else replace(neighbours)


def _left(rows: Table, x: Stored, smooth: Smooth | None) -> Floats:
    """What the booster learns: the prices, or what the smooth guess leaves of them."""
    if smooth is None:
        return rows.y
    guess: Floats = np.concatenate([smooth.predict(some) for some in x])
    return rows.y - guess


def _matrix(
    settings: CandidateParams,
    x: Stored,
    prices: Floats,
    learned_from: DMatrix | None = None,
) -> DMatrix:
    """Hands rows to XGBoost, for trees with a byte for each value, in which they learn.

    Args:
        settings: Of the candidate.
        x: All features of the rows.
        prices: What is learned, shape (rows,).
        learned_from: The matrix that says where the bytes cut the features; None for that itself.
    """
    from xgboost import DMatrix, QuantileDMatrix

    with _refusals():
        if settings.booster == "gblinear":
            return DMatrix(x.whole(), prices)  # it takes no parts
        return QuantileDMatrix(_batches(x, prices), ref=learned_from, nthread=1)


def _batches(x: Stored, prices: Floats) -> DataIter:
    """The rows as XGBoost asks for them, part by part."""
    from xgboost import DataIter

    class Batches(DataIter):
        def reset(self) -> None:
            self.parts, self.start = iter(x), 0

        def next(self, input_data: Callable[..., None]) -> bool:
            part = next(self.parts, None)
            if part is None:
                return False
            stop = self.start + len(part)
            input_data(data=part, label=prices[self.start : stop])
            self.start = stop
            return True

    return Batches()


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

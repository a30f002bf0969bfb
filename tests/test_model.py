from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from housing.domain.config import CandidateParams
from housing.domain.metrics import regression_metrics
from housing.domain.model import Model
from housing.domain.tables import ROW, TARGET, Table
from housing.domain.training import Training, stop_early, train
from housing.errors import ModelError

TREES = CandidateParams(
    booster="gbtree",
    n_estimators=60,
    learning_rate=0.3,
    early_stopping_rounds=5,
    max_depth=4,
    subsample=0.8,
    colsample_bytree=0.7,
)
LINEAR = CandidateParams(
    booster="gblinear",
    n_estimators=200,
    learning_rate=0.5,
    early_stopping_rounds=5,
    reg_lambda=0,
)
BOTH = pytest.mark.parametrize("settings", [TREES, LINEAR], ids=["trees", "linear"])
WEIGHTS = (50_000.0, -20_000.0, 0.0)


def table(rows: int, seed: int, noise: float = 5_000) -> Table:
    """Rows whose price is linear in `a` and `kind=[<1H]` and does not depend on `noise`."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 3)).astype(np.float32)
    price = 200_000 + x @ np.array(WEIGHTS) + generator.normal(0, noise, rows)
    frame = pl.DataFrame(x, schema=["a", "kind=[<1H]", "noise"])
    return Table(frame.with_columns(pl.lit("00").alias(ROW), pl.Series(TARGET, price)))


TRAIN, VALIDATION, TEST = table(600, 1), table(200, 2), table(200, 3)


def digest(training: Training, path: Path) -> str:
    training.model.save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@BOTH
def test_a_candidate_learns_what_is_there(settings: CandidateParams) -> None:
    model = train(settings, TRAIN, VALIDATION, 7).model
    assert regression_metrics(TEST.y, model.predict(TEST.x))["r2_score"] > 0.9


def test_the_linear_candidate_finds_the_weights() -> None:
    model = train(LINEAR, TRAIN, VALIDATION, 7).model
    predict = model.predict(np.vstack([np.zeros((1, 3)), np.eye(3)]).astype(np.float32))
    assert predict[0] == pytest.approx(200_000, abs=1_000)
    assert predict[1:] - predict[0] == pytest.approx(WEIGHTS, abs=1_000)


@BOTH
def test_the_same_seed_gives_the_same_bits(settings: CandidateParams, tmp_path: Path) -> None:
    digests = {
        digest(train(settings, TRAIN, VALIDATION, 7), tmp_path / f"{i}.ubj") for i in range(2)
    }
    assert len(digests) == 1


def test_another_seed_gives_other_trees(tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    digests = {digest(train(TREES, TRAIN, VALIDATION, seed), path) for seed in (7, 8)}
    assert len(digests) == 2


@BOTH
def test_the_model_is_that_of_the_best_iteration(settings: CandidateParams) -> None:
    # Noise makes the validation error rise before the rounds are used up.
    noisy, held_out = table(100, 4, noise=90_000), table(60, 5, noise=90_000)
    training = stop_early(settings, noisy, held_out, 7)
    errors = [step.validation_rmse for step in training.curve]
    assert [step.iteration for step in training.curve] == list(range(len(errors)))
    assert len(errors) < settings.n_estimators
    assert training.best_iteration == int(np.argmin(errors))
    assert len(errors) == training.best_iteration + 1 + settings.early_stopping_rounds
    assert training.model.booster.num_boosted_rounds() == training.best_iteration + 1
    rmse = regression_metrics(held_out.y, training.held_out)["rmse"]
    assert rmse == pytest.approx(errors[training.best_iteration], rel=1e-5)


@BOTH
def test_no_validation_price_reaches_what_is_held_out(settings: CandidateParams) -> None:
    # As many rounds either way: the trees themselves must not know the validation rows.
    settings = settings.model_copy(update={"n_estimators": 1})
    other = Table(VALIDATION.frame.with_columns(pl.col(TARGET) * 2 + 1))
    first, second = (stop_early(settings, TRAIN, side, 7) for side in (VALIDATION, other))
    assert first.best_iteration == second.best_iteration == 0
    assert first.held_out.tolist() == second.held_out.tolist()


def test_the_model_learns_from_the_validation_rows_in_the_end() -> None:
    few = Table(TRAIN.frame[:60])
    training = train(TREES, few, VALIDATION, 7)
    errors = [
        regression_metrics(VALIDATION.y, prices)["rmse"]
        for prices in (training.first.held_out, training.model.predict(VALIDATION.x))
    ]
    assert errors[1] < 0.9 * errors[0]


@BOTH
def test_what_is_saved_is_loaded(settings: CandidateParams, tmp_path: Path) -> None:
    model = train(settings, TRAIN, VALIDATION, 7).model
    model.save(tmp_path / "model.ubj")
    loaded = Model.load(tmp_path / "model.ubj")
    assert loaded.features == TRAIN.features == ("a", "kind=[<1H]", "noise")
    assert loaded.predict(TEST.x).tolist() == model.predict(TEST.x).tolist()
    assert loaded.importance() == model.importance()


@BOTH
def test_rows_are_scored_one_by_one_as_together(settings: CandidateParams) -> None:
    model = train(settings, TRAIN, VALIDATION, 7).model
    x = TEST.x[:20].copy()
    x[::3, 0] = np.nan
    alone = np.concatenate([model.predict(row[None, :]) for row in x])
    assert alone.tolist() == model.predict(x).tolist()
    assert model.predict(x).dtype == np.float64


def test_a_missing_number_is_the_mean_to_the_linear_candidate() -> None:
    model = train(LINEAR, TRAIN, VALIDATION, 7).model
    x = np.zeros((2, 3), dtype=np.float32)
    x[0] = np.nan
    first, second = model.predict(x)
    assert first == second


@BOTH
def test_importance_is_a_share(settings: CandidateParams) -> None:
    importance = train(settings, TRAIN, VALIDATION, 7).model.importance()
    assert list(importance) == ["a", "kind=[<1H]", "noise"]
    assert sum(importance.values()) == pytest.approx(1)
    assert importance["a"] > 2 * importance["kind=[<1H]"] > 4 * importance["noise"]


def test_a_model_that_uses_no_feature_has_no_importance() -> None:
    flat = TREES.model_copy(update={"min_child_weight": 1e9})
    importance = train(flat, TRAIN, VALIDATION, 7).model.importance()
    assert importance == {"a": 0, "kind=[<1H]": 0, "noise": 0}


def test_the_wrong_number_of_features_is_refused() -> None:
    model = train(TREES, TRAIN, VALIDATION, 7).model
    for x in (TEST.x[:, :2], TEST.x[0]):
        with pytest.raises(ModelError, match="the model takes 3 features, but got an array of"):
            model.predict(x)


def test_what_cannot_be_trained_is_an_error() -> None:
    price = TRAIN.frame.with_columns(pl.lit(np.nan).alias(TARGET))
    with pytest.raises(ModelError, match="XGBoost cannot train"):
        train(TREES, Table(price), VALIDATION, 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is no model of XGBoost"),
        (b"{}", "is no model of XGBoost"),
        (b"not a model", "is no model of XGBoost"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "model.ubj"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        Model.load(path)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ubj"
    train(TREES, TRAIN, VALIDATION, 7).model.save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="is no model of XGBoost"):
        Model.load(path)


def test_a_foreign_model_is_refused(tmp_path: Path) -> None:
    booster = train(TREES, TRAIN, VALIDATION, 7).model.booster
    booster.set_attr(features=None)
    booster.save_model(tmp_path / "model.ubj")
    with pytest.raises(ModelError, match="does not name its features"):
        Model.load(tmp_path / "model.ubj")

"""Neighbour features: what they are, and that no row's own price reaches them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from housing.domain.chunks import CHUNK
from housing.domain.config import CandidateParams, NeighbourParams, load_params, parse_params
from housing.domain.features import Transform, label
from housing.domain.metrics import regression_metrics
from housing.domain.model import Model
from housing.domain.nearest import SOFTENING, Features
from housing.domain.neighbours import SLACK, Neighbours
from housing.domain.split import row_ids
from housing.domain.tables import Table
from housing.domain.training import Training, stop_early, train
from housing.errors import ConfigError, ModelError
from tests.synthetic import make_params

PARAMS = make_params()
ASKED = NeighbourParams(
    near=(1, 3), alike=(2,), around=(5,), attributes={"income": 2}, km=20, per="income"
)
SETTINGS = CandidateParams(
    booster="gbtree",
    n_estimators=60,
    learning_rate=0.2,
    early_stopping_rounds=10,
    max_depth=4,
    waves=40,
    neighbours=ASKED,
)


def houses(rows: int, seed: int) -> pl.DataFrame:
    """Houses whose price is made by where they stand, in waves that trees find hard."""
    income, north, east, noise = np.random.default_rng(seed).random((rows, 4)).T
    price = 200 + 80 * np.sin(9 * north) * np.cos(9 * east) + 60 * income + 10 * noise
    return pl.DataFrame(
        {
            "income": income,
            "style": "old",
            "north": 34 + north,
            "east": -119 + east,
            "price": price,
        }
    )


def table(frame: pl.DataFrame, transform: Transform) -> Table:
    ids = row_ids(frame, ("north", "east"))
    return Table(label(frame, ids, transform.apply(frame), PARAMS.data))


HOUSES = {"train": houses(900, 1), "validation": houses(200, 2), "test": houses(200, 3)}
TRANSFORM = Transform.fit(HOUSES["train"], PARAMS)
TRAIN, VALIDATION, TEST = (table(frame, TRANSFORM) for frame in HOUSES.values())


def fit(rows: Table = TRAIN, settings: NeighbourParams = ASKED) -> Neighbours:
    return Neighbours.fit(rows, TRANSFORM, settings)


def asked(neighbours: Neighbours, rows: Table) -> np.ndarray[Any, np.dtype[np.float32]]:
    return neighbours.apply(rows.frame.select(neighbours.columns).to_numpy())


def among_training(neighbours: Neighbours, rows: Table) -> Features:
    return np.concatenate([*neighbours.apply_to_training(rows)])


@pytest.fixture(scope="module")
def training() -> Training:
    return train(SETTINGS, TRAIN, VALIDATION, 7, TRANSFORM)


def test_the_features_are_those_of_the_nearest_training_rows() -> None:
    neighbours = fit()
    made = dict(zip(neighbours.names, asked(neighbours, TEST).T, strict=True))
    north, east = (HOUSES["train"][name].to_numpy() for name in ("north", "east"))
    income = HOUSES["train"]["income"].to_numpy()
    for row in range(20):
        house = HOUSES["test"].row(row, named=True)
        squeezed = np.cos(np.radians(north.mean()))
        km = 111.195 * np.hypot(north - house["north"], (east - house["east"]) * squeezed)
        three = np.argsort(km)[:3]
        price, weight = TRAIN.y[three], 1 / (km[three] + SOFTENING)
        mean, level = np.average(price, weights=weight), np.average(income[three], weights=weight)
        found = {name: float(made[f"near_3_{name}"][row]) for name in ("mean", "std", "median")}
        assert found == pytest.approx(
            {"mean": mean, "std": price.std(), "median": np.median(price)}, rel=1e-3
        )
        assert made["near_3_reach"][row] == pytest.approx(km[three[-1]], rel=1e-3)
        five = np.argsort(km)[:5]
        middle = np.average(income[five], weights=1 / (km[five] + SOFTENING))
        unit = TRANSFORM.numbers["income"].scale
        assert made["around_5_income_above"][row] == pytest.approx(
            (house["income"] - middle) / unit, abs=1e-3
        )
        assert made["near_1_mean"][row] == pytest.approx(price[0], rel=1e-6)
        assert made["near_3_per_income"][row] == pytest.approx(mean / level, rel=1e-3)
        assert made["near_3_by_income"][row] == pytest.approx(
            mean / level * house["income"], rel=1e-3
        )


def test_the_price_follows_a_column_where_the_neighbours_show_it() -> None:
    neighbours = fit(settings=ASKED.model_copy(update={"near": (50,)}))
    made = dict(zip(neighbours.names, asked(neighbours, TEST).T, strict=True))
    error = {
        name: float(np.sqrt(np.mean((made[f"near_50_{name}"] - TEST.y) ** 2)))
        for name in ("mean", "along_income")
    }
    assert error["along_income"] < 0.95 * error["mean"]


def test_a_training_row_sees_the_others_as_a_new_row_sees_all() -> None:
    made = among_training(fit(), TRAIN)
    for row in (0, 17, 899):
        rest = Table(TRAIN.frame.filter(pl.int_range(pl.len()) != row))
        alone = asked(fit(rest), Table(TRAIN.frame[row : row + 1]))
        # All but `alike`, whose ranks are those of the training rows.
        count = sum(name.startswith("near") for name in fit().names)
        assert made[row, :count] == pytest.approx(alone[0, :count], rel=1e-6)


def test_no_price_of_the_own_identity_reaches_a_training_row() -> None:
    pairs = pl.concat([HOUSES["train"][:300], HOUSES["train"][:100]])
    before = table(pairs, TRANSFORM)
    price = pl.when(pl.int_range(pl.len()) % 300 == 5).then(pl.lit(9e5)).otherwise(pl.col("price"))
    after = table(pairs.with_columns(price.alias("price")), TRANSFORM)
    first, second = (among_training(fit(rows), rows) for rows in (before, after))
    assert np.array_equal(first[[5, 305]], second[[5, 305]])
    assert not np.array_equal(first, second)


def test_a_changed_target_of_a_held_out_row_changes_no_prediction(training: Training) -> None:
    wrong = Table(VALIDATION.frame.with_columns(pl.col("_target").reverse()))
    fixed = SETTINGS.model_copy(update={"n_estimators": 1})  # validation says only when to stop
    first, second = (stop_early(fixed, TRAIN, side, 7, TRANSFORM) for side in (VALIDATION, wrong))
    assert first.held_out.tolist() == second.held_out.tolist()
    other = Table(TEST.frame.with_columns(pl.lit(1.0).alias("_target")))
    assert training.model.predict(TEST.x).tolist() == training.model.predict(other.x).tolist()


def test_prices_that_mean_nothing_are_predicted_no_better_than_by_the_constant() -> None:
    sides = [
        Table(side.frame.with_columns(pl.col("_target").shuffle(seed=seed)))
        for seed, side in enumerate((TRAIN, VALIDATION, TEST))
    ]
    model = train(SETTINGS, sides[0], sides[1], 7, TRANSFORM).model
    found = regression_metrics(sides[2].y, model.predict(sides[2].x))["rmse"]
    assert found > 0.98 * float(sides[2].y.std())


def test_neighbours_help_where_place_makes_the_price(training: Training) -> None:
    plain = train(SETTINGS.model_copy(update={"neighbours": None}), TRAIN, VALIDATION, 7).model
    errors = [
        regression_metrics(TEST.y, m.predict(TEST.x))["rmse"] for m in (training.model, plain)
    ]
    assert errors[0] < 0.9 * errors[1]


def test_rows_are_priced_one_by_one_as_together_and_from_a_file(
    training: Training, tmp_path: Path
) -> None:
    x = np.resize(TEST.x, (CHUNK + 1, TEST.x.shape[1]))  # one row is alone in its chunk
    training.model.save(tmp_path / "model.ubj")
    loaded = Model.load(tmp_path / "model.ubj")
    assert loaded.neighbours is not None
    together = loaded.predict(x)
    assert together.tolist() == training.model.predict(x).tolist()
    assert together.tolist() == np.resize(together[: len(TEST.x)], len(x)).tolist()
    assert together[:40].tolist() == [loaded.predict(x[i : i + 1])[0] for i in range(40)]
    assert next(iter(loaded.importance())).startswith(("near_", "alike_", "around_"))


def test_alike_rows_are_within_the_slack_of_the_nearest() -> None:
    neighbours = fit(settings=ASKED.model_copy(update={"alike": (1, 10)}))
    rows = neighbours._mix(neighbours.rows)
    for own, made, table_ in (
        (0, asked(neighbours, TEST), TEST),
        (1, among_training(neighbours, TRAIN), TRAIN),  # none finds itself
    ):
        points = neighbours._mix(table_.frame.select(neighbours.columns).to_numpy())
        apart = np.sort(np.sqrt(((points[:, None] - rows[None]) ** 2).sum(axis=2)), axis=1)
        found = dict(zip(neighbours.names, made.T, strict=True))
        for count in (1, 10):
            reach, exact = found[f"alike_{count}_reach"], apart[:, count + own - 1]
            assert (reach >= exact * (1 - 1e-6)).all()
            assert (reach <= exact * (1 + SLACK) * (1 + 1e-6)).all()
    assert (found["alike_10_reach"] > exact * (1 + 1e-6)).any()  # so it is used


def test_a_lone_row_has_the_same_features_as_among_others() -> None:
    neighbours = fit(settings=ASKED.model_copy(update={"near": (3, 50), "around": (30,)}))
    alone = [asked(neighbours, Table(TEST.frame[row : row + 1]))[0] for row in range(60)]
    assert asked(neighbours, TEST)[:60].tolist() == np.array(alone).tolist()


def test_the_same_rows_give_the_same_file(training: Training, tmp_path: Path) -> None:
    again = train(SETTINGS, TRAIN, VALIDATION, 7, TRANSFORM)
    for number, each in enumerate((training, again)):
        each.model.save(tmp_path / f"{number}.ubj")
    assert (tmp_path / "0.ubj").read_bytes() == (tmp_path / "1.ubj").read_bytes()


def test_a_row_without_a_location_has_no_neighbours_and_is_none(training: Training) -> None:
    lost = HOUSES["train"].with_columns(
        north=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("north"))
    )
    rows = table(lost, TRANSFORM)
    neighbours = fit(rows)
    assert len(neighbours.prices) == 899
    made = among_training(neighbours, rows)
    assert np.isnan(made[3]).all()
    assert np.isfinite(np.delete(made, 3, axis=0)).all()
    assert np.isfinite(training.model.predict(rows.x[:5])).all()


def test_fewer_rows_than_asked_for_are_enough() -> None:
    few = table(HOUSES["train"][:4], TRANSFORM)
    neighbours = fit(few, ASKED.model_copy(update={"near": (3, 8, 20)}))
    assert neighbours.settings.near == (3,)
    assert np.isfinite(among_training(neighbours, few)).all()
    with pytest.raises(ModelError, match=r"only 1 training row\(s\) have neighbours on the map"):
        fit(table(HOUSES["train"][:1], TRANSFORM))


def test_a_table_without_a_location_has_no_neighbours() -> None:
    nowhere = TRANSFORM.model_copy(update={"location": None})
    with pytest.raises(ModelError, match="need a table with a latitude and a longitude"):
        Neighbours.fit(TRAIN, nowhere, ASKED)


def test_neighbours_are_not_left_out_in_silence() -> None:
    with pytest.raises(ConfigError, match="without the features' transform"):
        train(SETTINGS, TRAIN, VALIDATION, 7)


def test_damaged_neighbours_are_refused(training: Training, tmp_path: Path) -> None:
    training.model.save(tmp_path / "model.ubj")
    booster = Model.load(tmp_path / "model.ubj").booster
    booster.set_attr(neighbours="{}")
    booster.save_model(tmp_path / "model.ubj")
    with pytest.raises(ModelError, match="has damaged neighbours"):
        Model.load(tmp_path / "model.ubj")


def test_what_no_column_can_give_is_a_fault_of_the_file() -> None:
    content = load_params(Path(__file__).with_name("params.yaml")).model_dump(mode="json")
    content["train"]["xgboost"]["neighbours"] = {
        "near": [],
        "attributes": {"Nowhere": 1},
        "per": "target",
    }
    for name in ("Latitude", "Longitude"):
        content["data"]["columns"][name]["role"] = "feature"
    with pytest.raises(ConfigError) as caught:
        parse_params(content)
    for fault in (
        "train.xgboost.neighbours: need a column with the role latitude and one longitude",
        "train.xgboost.neighbours: near and alike are both empty",
        "train.xgboost.neighbours.attributes: 'Nowhere' is no numeric input column",
        "train.xgboost.neighbours.per: 'target' is no numeric input column",
    ):
        assert fault in str(caught.value)

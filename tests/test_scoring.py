from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import wasserstein_distance

from housing.domain.columns import Column
from housing.domain.config import CandidateParams, Params, load_params
from housing.domain.data.quality import describe
from housing.domain.data.schema import RowSchema
from housing.domain.drift import LIMIT, drift
from housing.domain.features import Transform, label
from housing.domain.model import Model
from housing.domain.scoring import Scores, ServedModel, score
from housing.domain.tables import Table
from housing.domain.training import train
from housing.errors import DataError

ROOT = Path(__file__).parent.parent
DELIVERY = ROOT / "data/landing/california_housing.csv"
HALFWIDTH = 50_000.0


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def columns(params: Params) -> dict[str, Column]:
    return {name: params.data.columns[name] for name in params.data.inputs}


@pytest.fixture(scope="module")
def houses() -> pl.DataFrame:
    return pl.read_csv(DELIVERY, n_rows=600)


@pytest.fixture(scope="module", params=["gbtree", "gblinear"])
def files(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    params: Params,
    houses: pl.DataFrame,
) -> Path:
    """A folder with the files of a served model."""
    folder = tmp_path_factory.mktemp("model")
    rows = RowSchema(params.data.columns).split(houses).good
    transform = Transform.fit(rows, params)
    ids = pl.Series([f"{i:016x}" for i in range(rows.height)])
    table = Table(label(rows, ids, transform.apply(rows), params.data))
    candidate = CandidateParams(
        booster=request.param, n_estimators=20, learning_rate=0.5, early_stopping_rounds=5
    )
    train(candidate, table, table, seed=1).model.save(folder / "model.ubj")
    transform.save(folder / "transform.json")
    return folder


class Here:
    """The model in this process; tests/test_served.py has it in a process of its own."""

    def __init__(self, files: Path) -> None:
        self.model = Model.load(files / "model.ubj")
        self.transform = Transform.load(files / "transform.json")

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        """Has nothing to close."""

    def price(self, rows: pl.DataFrame) -> pl.DataFrame:
        dollars = self.model.predict(self.transform.matrix(rows))
        price = pl.Series("prediction", dollars)
        return pl.DataFrame([price, (price - HALFWIDTH).alias("lower")]).with_columns(
            upper=price + HALFWIDTH
        )

    def explain(self, rows: pl.DataFrame) -> pl.DataFrame:
        raise NotImplementedError  # nothing here asks


def read(
    files: Path, columns: dict[str, Column], run_id: str = "run1", version: str = "7"
) -> ServedModel:
    return ServedModel(run_id, version, columns, lambda: Here(files))


def prices(model: ServedModel, rows: pl.DataFrame) -> pl.Series:
    """What the model says in one go."""
    with model.opened() as pricer:
        return pricer.price(rows)["prediction"]


@pytest.fixture
def model(files: Path, columns: dict[str, Column]) -> ServedModel:
    return read(files, columns)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_row_is_priced_or_in_quarantine(
    tmp_path: Path,
    houses: pl.DataFrame,
    model: ServedModel,
    columns: dict[str, Column],
    suffix: str,
) -> None:
    inputs = houses.select(columns.keys()).with_row_index("n")
    broken = inputs.with_columns(
        Latitude=pl.when(pl.col("n") == 2).then(99.0).otherwise("Latitude"),
        MedInc=pl.when(pl.col("n").is_in([0, 599])).then(None).otherwise("MedInc"),
    ).drop("n")
    source = tmp_path / f"june{suffix}"
    broken.write_csv(source) if suffix == ".csv" else broken.write_parquet(source)

    scores = score(source, tmp_path / "out.parquet", tmp_path / "bad.parquet", model)

    assert (scores.rows, scores.scored, scores.quarantined) == (600, 597, 3)
    assert scores.reasons == {"Latitude: above 43": 1, "MedInc: missing": 2}
    bad = pl.read_parquet(tmp_path / "bad.parquet")
    assert bad["row"].to_list() == [1, 3, 600]
    assert bad["reasons"][1] == "Latitude: above 43"
    assert bad["Latitude"][1] == "99.0"
    assert set(bad["file"]) == {source.name}
    out = pl.read_parquet(tmp_path / "out.parquet")
    assert out.columns == ["row", "prediction", "lower", "upper", "model_version"]
    assert out["row"].to_list() == [2, *range(4, 600)]
    assert out["model_version"].cast(pl.String).unique().to_list() == ["7"]
    # The same prices as the model gives in one go, on the typed rows.
    good = RowSchema(columns).split(broken).good
    np.testing.assert_array_equal(out["prediction"], prices(model, good))
    np.testing.assert_allclose(out["upper"] - out["lower"], 2 * HALFWIDTH)


def test_many_batches_stay_in_order(
    tmp_path: Path,
    houses: pl.DataFrame,
    model: ServedModel,
    columns: dict[str, Column],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("housing.domain.data.landing._BATCH_ROWS", 1_000)
    source, out = tmp_path / "many.parquet", tmp_path / "out.parquet"
    many = pl.concat([houses.select(columns.keys())] * 40)
    many.write_parquet(source)
    seen: list[int] = []
    scores = score(source, out, tmp_path / "bad.parquet", model, seen.append)
    assert seen[-1] == many.height
    assert len(seen) > 1
    assert seen == sorted(seen)
    scored = pl.read_parquet(out)
    assert scores.scored == many.height
    assert scored["row"].to_list() == list(range(1, many.height + 1))
    np.testing.assert_array_equal(scored["prediction"], prices(model, many))


def test_every_part_of_a_file_counts_in_its_description_by_its_rows(
    tmp_path: Path,
    model: ServedModel,
    columns: dict[str, Column],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("housing.domain.scoring.SAMPLE_ROWS", 1_000)
    # From south to north: the last batch of 10,000 is short, and of other houses than the rest.
    many = pl.read_csv(DELIVERY, columns=list(columns)).sort("Latitude")
    source, bad = tmp_path / "sorted.parquet", tmp_path / "bad.parquet"
    many.write_parquet(source)
    found = []
    for batch_rows in (10_000, 700):
        monkeypatch.setattr("housing.domain.data.landing._BATCH_ROWS", batch_rows)
        out = tmp_path / f"{batch_rows}.parquet"
        found.append(score(source, out, bad, model).columns)
    distances = drift(describe(many), found[0])
    assert distances.keys() == columns.keys()
    assert max(distances.values()) < LIMIT
    assert found[0] == found[1]


def test_the_distance_of_quantiles_is_scipys() -> None:
    quantiles = [[3.0, 1.0, 7.5, 2.0], [0.5, 9.0, 4.0, 4.0]]
    sides = [{"a": {"quantiles": side, "std": 2.0}} for side in quantiles]
    assert drift(*sides) == {"a": pytest.approx(wasserstein_distance(*quantiles) / 2)}


def test_a_file_is_scored_once_for_each_content_and_model(
    tmp_path: Path, houses: pl.DataFrame, files: Path, columns: dict[str, Column]
) -> None:
    source, out, bad = (tmp_path / name for name in ("a.csv", "out.parquet", "bad.parquet"))
    houses.head(5).write_csv(source)
    first = score(source, out, bad, read(files, columns))
    written = out.stat().st_mtime_ns
    assert score(source, out, bad, read(files, columns)) == first == Scores.read(out)
    assert out.stat().st_mtime_ns == written
    assert score(source, out, bad, read(files, columns, "run2", "8")).version == "8"
    houses.head(6).write_csv(source)
    assert score(source, out, bad, read(files, columns, "run2", "8")).rows == 6


def test_a_file_without_rows_gives_empty_tables(
    tmp_path: Path, houses: pl.DataFrame, model: ServedModel
) -> None:
    source = tmp_path / "empty.csv"
    houses.clear().write_csv(source)
    scores = score(source, tmp_path / "out.parquet", tmp_path / "bad.parquet", model)
    assert scores.rows == 0
    assert pl.read_parquet(tmp_path / "out.parquet").is_empty()


def test_nothing_is_left_behind_when_a_file_breaks_off(
    tmp_path: Path, houses: pl.DataFrame, model: ServedModel
) -> None:
    source = tmp_path / "torn.csv"
    houses.head(5).write_csv(source)
    with source.open("a") as torn:
        torn.write("1,2\n")
    with pytest.raises(DataError, match=r"torn\.csv"):
        score(source, tmp_path / "out.parquet", tmp_path / "bad.parquet", model)
    assert [path.name for path in tmp_path.iterdir()] == ["torn.csv"]


def test_a_missing_column_is_named(
    tmp_path: Path, houses: pl.DataFrame, model: ServedModel
) -> None:
    source = tmp_path / "narrow.csv"
    houses.drop("AveRooms").write_csv(source)
    with pytest.raises(DataError, match="AveRooms"):
        score(source, tmp_path / "out.parquet", tmp_path / "bad.parquet", model)


def test_an_open_quote_loses_no_row(tmp_path: Path, model: ServedModel) -> None:
    lines = DELIVERY.read_text(encoding="utf-8").splitlines()[:500]
    lines = [lines[0] + ",note", *(line + ",ok" for line in lines[1:])]
    lines[99] = lines[99].removesuffix("ok") + '"5 rooms'
    source = tmp_path / "june.csv"
    source.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="line 100 opens a quote that it does not close"):
        score(source, tmp_path / "out.parquet", tmp_path / "bad.parquet", model)
    assert [path.name for path in tmp_path.iterdir()] == ["june.csv"]

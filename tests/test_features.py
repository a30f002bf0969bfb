from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from housing.domain.config import Params, load_params, parse_params
from housing.domain.features import Transform, label
from housing.domain.formulas import EARTH_RADIUS, Scale, direction, distance
from housing.domain.split import row_ids
from housing.domain.tables import LATITUDE, LONGITUDE, ROW, TARGET, Table, read_table
from housing.errors import ConfigError, DataError

ROOT = Path(__file__).parents[1]
REAL = ROOT / "data" / "landing" / "california_housing.csv"
CODES = ["<1H OCEAN", "INLAND", "[new]", None]


@pytest.fixture(scope="module")
def california() -> Params:
    return load_params(ROOT / "tests/params.yaml")


@pytest.fixture(scope="module")
def houses() -> pl.DataFrame:
    return pl.read_csv(REAL, n_rows=400)


def other_params(**features: object) -> Params:
    """Parameters of a table with a whole number, a category, missing values, and no location."""
    content = load_params(ROOT / "tests/params.yaml").model_dump(mode="json")
    content["data"]["columns"] = {
        "area": {"type": "float", "nullable": True},
        "rooms": {"type": "int", "nullable": True},
        "kind": {"type": "string", "nullable": True},
        "price": {"type": "float", "role": "target"},
    }
    content["data"]["identity"] = ["area", "rooms", "kind"]
    content["features"] = features
    return parse_params(content)


def other(rows: list[tuple[float | None, int | None, str | None]]) -> pl.DataFrame:
    schema = {"area": pl.Float64, "rooms": pl.Int64, "kind": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(price=pl.lit(1.0))


UNIT = Scale(mean=0, scale=1)
OTHER = other([(50.0, 2, "flat"), (150.0, 4, "flat"), (None, None, None), (100.0, 6, "<loft>")])


def test_numbers_are_standardised_on_the_training_rows() -> None:
    params = other_params(ratios={"area_per_room": ["area", "rooms"]})
    out = Transform.fit(OTHER, params).apply(OTHER)
    kinds = ["kind=<loft>", "kind=flat"]
    assert out.columns == ["area", "rooms", "kind_price", "area_per_room", *kinds]
    assert set(out.dtypes) == {pl.Float32}
    step = math.sqrt(1.5)
    assert out["area"].to_list() == pytest.approx([-step, step, math.nan, 0.0], nan_ok=True)
    ratios = np.array([25.0, 37.5, 100 / 6])
    expected = (ratios - ratios.mean()) / ratios.std()
    assert out["area_per_room"].to_numpy()[[0, 1, 3]] == pytest.approx(expected)
    assert math.isnan(out["area_per_room"][2])
    assert out["kind=flat"].to_list() == [1, 1, 0, 0]


def test_only_the_most_frequent_categories_have_a_feature() -> None:
    kinds = ["b", "c", "a", "c", "d", None]
    train = other([(1.0, 1, kind) for kind in kinds])
    transform = Transform.fit(train, other_params(max_categories=2))
    assert transform.categories == {"kind": ("a", "c")}
    rest = transform.apply(other([(1.0, 1, "b"), (1.0, 1, "new"), (1.0, 1, None)]))
    assert rest.select("kind=a", "kind=c").to_numpy().sum() == 0


def test_dates_give_year_month_and_ages_and_truth_is_a_number() -> None:
    content = other_params().model_dump(mode="json", exclude={"data": {"identity"}})
    content["data"]["columns"] |= {
        "parcel": {"type": "int", "role": "id"},
        "agent": {"type": "string", "role": "ignore"},
        "sold": {"type": "date", "nullable": True},
        "built": {"type": "int"},
        "listed": {"type": "date"},
        "garage": {"type": "bool", "nullable": True},
    }
    content["features"]["ages"] = {"age": ["sold", "built"], "waited": ["sold", "listed"]}
    days = [dt.date(2014, 7, 2), dt.date(2015, 1, 1), None, dt.date(1969, 12, 31)]
    table = OTHER.with_columns(
        pl.Series("sold", days),
        pl.Series("garage", [True, False, None, True]),
        built=pl.lit(1950),
        listed=pl.lit(dt.date(2014, 7, 2)),
    )
    transform = Transform.fit(table, parse_params(content))
    made = ("sold_year", "sold_month", "built", "listed_year", "listed_month", "garage")
    assert transform.features == (
        "area",
        "rooms",
        *made,
        "kind_price",
        "age",
        "waited",
        "kind=<loft>",
        "kind=flat",
    )
    raw = transform.model_copy(update={"numbers": dict.fromkeys(transform.numbers, UNIT)})
    out = raw.apply(table)
    assert out["sold_year"].to_list()[:2] == [2014, 2015]
    assert out["sold_month"].to_list()[3] == 12
    assert out["age"].to_list() == pytest.approx([64.5, 65, math.nan, 20], abs=0.01, nan_ok=True)
    assert out["waited"].to_list()[:2] == pytest.approx([0, 183 / 365.2425])
    assert out["garage"].to_list() == pytest.approx([1, 0, math.nan, 1], nan_ok=True)
    assert_frame_equal(pl.concat([raw.apply(table[i]) for i in range(4)]), out, check_exact=True)


def test_a_text_has_the_mean_price_of_its_rows_drawn_towards_that_of_all() -> None:
    train = other([(1.0, 1, kind) for kind in ["a", "a", "a", "b", None]])
    train = train.with_columns(price=pl.Series([100.0, 200.0, 300.0, 900.0, 500.0]))
    transform = Transform.fit(train, other_params())
    prices = transform.prices["kind"]
    assert prices.overall == 400
    assert prices.known == {"a": (600 + 5 * 400) / (3 + 5)}  # one house at b says nothing of others
    update = {"numbers": {"kind_price": UNIT}, "categories": {}}
    asked = other([(1.0, 1, kind) for kind in ["a", "b", "new", None]])
    made = transform.model_copy(update=update).apply(asked)
    assert made["kind_price"].to_list() == [325, 400, 400, 400]


def test_a_training_row_does_not_find_its_own_price_among_its_features() -> None:
    generator, rows = np.random.default_rng(1), 400
    kinds = [f"k{n}" for n in generator.integers(0, 40, rows)]
    train = other([(float(n), 1, kind) for n, kind in enumerate(kinds)])
    train = train.with_columns(price=pl.Series(generator.normal(1e5, 2e4, rows)))
    ids = row_ids(train.with_columns(house=pl.int_range(rows) // 2), ("house",))
    transform = Transform.fit(train, other_params())
    made = transform.apply_to_training(train, ids, "price")
    assert_frame_equal(made.drop("kind_price"), transform.apply(train).drop("kind_price"))
    for row in (0, 17, 399):
        same_house = pl.int_range(rows) // 2 == row // 2
        dearer = train.with_columns(pl.when(same_house).then(1e9).otherwise("price").alias("price"))
        again = transform.apply_to_training(dearer, ids, "price")["kind_price"]
        assert again[row] == made["kind_price"][row]
        assert again.to_list() != made["kind_price"].to_list()
    # Prices have nothing to do with the kinds here: what a row is told must not tell its price.
    assert abs(np.corrcoef(made["kind_price"], train["price"])[0, 1]) < 0.2


def km_between(house: tuple[float, float], place: tuple[float, float]) -> float:
    frame = pl.DataFrame({"north": [house[0]], "east": [house[1]]})
    stands = frame.select(**direction(pl.col("north"), pl.col("east")))
    return float(stands.select(distance(place)).item())


@pytest.mark.parametrize(
    ("place", "km"),
    [
        # A quarter and a half of a great circle, and the same point.
        ((0.0, 90.0), EARTH_RADIUS * math.pi / 2),
        ((0.0, 180.0), EARTH_RADIUS * math.pi),
        ((90.0, 0.0), EARTH_RADIUS * math.pi / 2),
        ((0.0, 0.0), 0.0),
        # One minute of arc is one nautical mile: 1.852 km, to the accuracy of a sphere.
        ((1 / 60, 0.0), 1.8532),
    ],
)
def test_distance_is_along_a_great_circle(place: tuple[float, float], km: float) -> None:
    assert km_between((0.0, 0.0), place) == pytest.approx(km, rel=1e-4)


def test_san_francisco_is_559_km_from_los_angeles() -> None:
    km = km_between((37.7749, -122.4194), (34.0522, -118.2437))
    assert km == pytest.approx(559.1, abs=0.1)


def test_the_distance_to_the_place_itself_is_nothing() -> None:
    place = (37.7749, -122.4194)
    assert km_between(place, place) == pytest.approx(0, abs=2e-4)
    assert km_between((37.7749, -122.4193), place) == pytest.approx(0.0088, abs=1e-4)


def test_a_map_turned_by_90_degrees_swaps_its_axes(
    houses: pl.DataFrame, california: Params
) -> None:
    made = california.features.model_copy(update={"rotations": (90.0,)})
    turned = Transform.fit(houses, california.model_copy(update={"features": made})).apply(houses)
    north, west = turned["Latitude"].to_numpy(), -turned["Longitude"].to_numpy()
    assert turned["rotated_90_x"].to_numpy() == pytest.approx(north, abs=1e-4)
    assert turned["rotated_90_y"].to_numpy() == pytest.approx(west, abs=1e-4)


def test_batches_and_single_rows_give_the_same_bits(
    houses: pl.DataFrame, california: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = Transform.fit(houses.head(200), california)
    whole = transform.apply(houses)
    assert whole.to_numpy().tobytes("C") == transform.matrix(houses).tobytes()
    for rows in (7, len(houses) - 1):  # the last batch is a lone row
        monkeypatch.setattr("housing.domain.features.BATCH", rows)
        assert_frame_equal(transform.apply(houses), whole, check_exact=True)
    alone = [transform.apply(houses[i]) for i in range(50)]
    assert_frame_equal(pl.concat(alone), whole.head(50), check_exact=True)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(allow_nan=True, allow_infinity=True),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.sampled_from(CODES) | st.text(max_size=3),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_value_gives_a_finite_feature_or_nan(
    rows: list[tuple[float | None, int | None, str | None]],
) -> None:
    params = other_params(ratios={"a": ["area", "rooms"], "b": ["rooms", "area"]})
    frame = other(rows)
    transform = Transform.fit(OTHER, params)
    whole = transform.apply(frame)
    assert whole.null_count().sum_horizontal().item() == 0
    assert not whole.select(pl.any_horizontal(pl.all().is_infinite())).to_series().any()
    alone = pl.concat([transform.apply(frame[i]) for i in range(len(frame))])
    assert_frame_equal(alone, whole, check_exact=True)


@pytest.mark.parametrize("values", [[5.0, 5.0], [None, None], [math.inf, math.nan]])
def test_a_column_without_spread_keeps_its_unit(values: list[float | None]) -> None:
    frame = other([(value, 1, "flat") for value in values])
    transform = Transform.fit(frame, other_params())
    mean = transform.numbers["area"].mean
    assert transform.apply(other([(mean + 3, 1, None)]))["area"].to_list() == [3.0]


def test_no_row_but_the_training_rows_changes_what_is_fitted(
    houses: pl.DataFrame, california: Params
) -> None:
    train, rest = houses.head(300), houses.tail(100)
    transform = Transform.fit(train, california)
    for factor in (0.0, 1e6):
        transform.apply(rest.with_columns(pl.all() * factor))
        assert Transform.fit(train, california) == transform
    assert Transform.fit(houses, california) != transform


def test_chunks_do_not_change_what_is_fitted(houses: pl.DataFrame, california: Params) -> None:
    chunks = pl.concat([houses[i : i + 7] for i in range(0, len(houses), 7)], rechunk=False)
    assert Transform.fit(chunks, california) == Transform.fit(houses.rechunk(), california)


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path, california: Params) -> None:
    path = tmp_path / "transform.json"
    for frame, params in ((pl.read_csv(REAL, n_rows=99), california), (OTHER, other_params())):
        transform = Transform.fit(frame, params)
        transform.save(path)
        loaded = Transform.load(path)
        assert loaded == transform
        assert loaded.features == tuple(transform.apply(frame).columns)
        assert path.read_text().count("\n") > 10  # a person can read it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"version": 1}', "version 1, not 2"),
        ("{}", "version None, not 2"),
        ("[]", "version None, not 2"),
        ("{", "is damaged: "),
        ('{"version": 2, "inputs": {"a": "date"}}', "is damaged: "),
        (None, "does not exist"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "transform.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        Transform.load(path)
    assert "dvc repro --force" in str(caught.value)


def test_a_missing_column_is_named(houses: pl.DataFrame, california: Params) -> None:
    transform = Transform.fit(houses, california)
    with pytest.raises(DataError, match=r"lacks the column\(s\) MedInc, AveRooms"):
        transform.apply(houses.drop("MedInc", "AveRooms"))
    with pytest.raises(DataError, match=r"lacks the column\(s\) MedInc\n"):
        Transform.fit(houses.drop("MedInc"), california)


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two features are called 'kind=flat'"):
        Transform.fit(OTHER, other_params(ratios={"kind=flat": ["area", "rooms"]}))


def test_the_table_of_a_side_reads_back(
    tmp_path: Path, houses: pl.DataFrame, california: Params
) -> None:
    transform = Transform.fit(houses, california)
    ids = pl.Series([f"{i:016x}" for i in range(len(houses))])
    path = tmp_path / "side.parquet"
    label(houses, ids, transform.apply(houses), california.data).write_parquet(path)
    table = read_table(path)
    assert table.features == transform.features
    assert table.frame.columns[-4:] == [ROW, TARGET, LATITUDE, LONGITUDE]
    assert table.x.shape == (len(houses), len(transform.features))
    assert table.x.dtype == np.float32
    assert table.y.tolist() == houses["target"].to_list()
    assert table.located
    assert table.frame[LATITUDE].to_list() == houses["Latitude"].to_list()


def test_a_table_without_location_has_none() -> None:
    transform = Transform.fit(OTHER, other_params())
    frame = label(OTHER, pl.Series(["x"] * 4), transform.apply(OTHER), other_params().data)
    assert not Table(frame).located
    assert frame.columns[-2:] == [ROW, TARGET]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "does not exist"),
        (pl.DataFrame({"a": [1.0]}), "lacks _row, _target"),
        (pl.DataFrame({ROW: [], TARGET: []}), "has no row"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, frame: pl.DataFrame | None, message: str) -> None:
    path = tmp_path / "side.parquet"
    if frame is not None:
        frame.write_parquet(path)
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_the_file_names_its_version(tmp_path: Path) -> None:
    path = tmp_path / "transform.json"
    Transform.fit(OTHER, other_params()).save(path)
    assert json.loads(path.read_text())["version"] == 2

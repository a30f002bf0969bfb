"""Two results whose rows are named by other columns, or are of other tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from housing.domain.config import Params, SplitParams
from housing.domain.scoring import Scores
from housing.domain.split import row_ids, sides_by_time
from housing.errors import RegistryError
from housing.mlops.registry.common import common_rows
from housing.mlops.registry.gate_evaluation import compared
from housing.mlops.registry.run_artifacts import Record
from housing.mlops.tracking.digest import BUNDLE
from housing.mlops.tracking.logged_rows import SEEN_ROWS, TEST_ROWS
from housing.mlops.tracking.result import PREDICTIONS
from tests.synthetic import houses, make_params

TABLE = houses(400)
TYPES = {"north": "float", "east": "float", "style": "string", "income": "float"}


@dataclass(frozen=True)
class Fake(Record):
    """A record on disk whose model says the same of every row."""

    def ask(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Scores]:
        prices = {"row": range(1, rows.height + 1), "prediction": np.full(rows.height, 200_000.0)}
        return pl.DataFrame(prices), cast("Any", None)


def record(
    folder: Path,
    identity: tuple[str, ...],
    test: pl.Series,
    table: pl.DataFrame = TABLE,
    types: dict[str, str] = TYPES,
) -> Fake:
    """A result that tested some rows of a table, and has seen the others."""
    (folder / "rows").mkdir(parents=True)
    (folder / "reports").mkdir()
    ids = row_ids(table, identity).alias("_row")
    inputs = table.drop("price").with_columns(ids).filter(test)
    ids.filter(~test).unique().to_frame().write_parquet(folder / SEEN_ROWS)
    inputs.write_parquet(folder / TEST_ROWS)
    predicted = table.filter(test)["price"] * 1000.0
    pl.DataFrame(
        {
            "_row": inputs["_row"],
            "latitude": table["north"].filter(test) if "north" in table.columns else None,
            "longitude": table["east"].filter(test) if "east" in table.columns else None,
            "actual": predicted,
            "predicted": predicted + 1000.0,
        }
    ).write_parquet(folder / PREDICTIONS)
    logged = {f"data.columns.{name}.type": kind for name, kind in types.items()}
    logged |= {f"data.columns.{name}.nullable": "false" for name in types}
    logged["data.identity"] = json.dumps(identity)
    data = SimpleNamespace(params=logged, tags={BUNDLE: "0" * 64}, metrics={})
    return Fake(cast("Any", SimpleNamespace(data=data)), folder, folder)


def every(step: int, rows: int = TABLE.height) -> pl.Series:
    return pl.int_range(rows, eager=True) % step == 0


@pytest.fixture
def params() -> Params:
    return make_params(min_rows=1)


@pytest.mark.parametrize("mine", [("north", "east", "style"), ("north",)], ids=["finer", "coarser"])
def test_another_identity_hides_no_row_that_the_champion_has_seen(
    tmp_path: Path, mine: tuple[str, ...]
) -> None:
    place = ("north", "east")
    challenger = record(tmp_path / "challenger", mine, every(2))
    champion = record(tmp_path / "champion", place, every(3))
    both = common_rows(challenger, champion)
    # By hand: rows of the challenger's test at places that neither has trained on.
    by_place = pl.struct(place)
    seen_by_champion = TABLE.filter(~every(3)).select(by_place).to_series()
    seen_by_me = TABLE.filter(~every(2)).select(pl.struct(mine)).to_series()
    expected = TABLE.filter(every(2)).filter(
        ~by_place.is_in(seen_by_champion.implode()), ~pl.struct(mine).is_in(seen_by_me.implode())
    )
    assert both["actual"].to_list() == (expected["price"] * 1000.0).to_list()
    assert 0 < both.height < every(2).sum()
    assert both["champion"].unique().to_list() == [200_000.0]  # asked: its rows have other names


def test_another_type_of_the_identity_hides_no_row(tmp_path: Path) -> None:
    """A whole number is named 34 as an integer and 34.0 as a float."""
    whole = TABLE.with_columns(pl.col("north").cast(pl.Int64), pl.int_range(pl.len()).alias("east"))
    fractional = whole.with_columns(pl.col("north", "east").cast(pl.Float64))
    identity = ("north", "east")
    challenger = record(tmp_path / "challenger", identity, every(2), fractional)
    champion = record(
        tmp_path / "champion", identity, every(4), whole, TYPES | {"north": "int", "east": "int"}
    )
    assert common_rows(challenger, champion).height == every(4).sum()


def test_a_champion_of_another_table_says_what_to_do(tmp_path: Path, params: Params) -> None:
    identity = ("north", "east")
    other = TABLE.rename({"income": "MedInc", "style": "Ocean"}).with_columns(pl.col("price") + 1)
    types = {"MedInc": "float", "Ocean": "string", "north": "float", "east": "float"}
    challenger = record(tmp_path / "challenger", identity, every(2))
    champion = record(tmp_path / "champion", identity, every(3), other, types)
    (check,) = compared(params, challenger, champion, "refresh")
    assert not check.passed
    assert "of another table: it knows MedInc, Ocean" in check.sentence
    assert "registry.model in params.yaml" in check.sentence


def test_a_type_that_cannot_be_read_as_the_champions_is_another_table(tmp_path: Path) -> None:
    challenger = record(tmp_path / "challenger", ("style",), every(2))
    champion = record(tmp_path / "champion", ("style",), every(3), types=TYPES | {"style": "date"})
    with pytest.raises(RegistryError, match=r"by style as date, which these rows cannot be read"):
        common_rows(challenger, champion)


def test_a_champion_needs_neither_its_ids_nor_what_it_ignores(tmp_path: Path) -> None:
    own = TABLE.with_columns(parcel=pl.int_range(pl.len()), agent=pl.lit("Ann"))
    types = TYPES | {"parcel": "int", "agent": "string"}
    champion = record(tmp_path / "champion", ("parcel",), every(3), own, types)
    champion.run.data.params.update(
        {"data.columns.parcel.role": "id", "data.columns.agent.role": "ignore"}
    )
    challenger = record(tmp_path / "challenger", ("parcel",), every(2), own.drop("agent"), types)
    both = common_rows(challenger, champion)
    assert both["actual"].to_list() == (TABLE.filter(every(6))["price"] * 1000.0).to_list()


def test_by_time_a_champion_is_asked_about_what_came_after_it(tmp_path: Path) -> None:
    """The cut moves on with new rows: the champion's test rows become the challenger's training."""
    resold = 30  # houses that the champion has learned from are sold again among the newest
    own = TABLE.with_columns(
        sold=pl.date(2014, 1, 1) + pl.duration(days=pl.int_range(pl.len())),
        parcel=pl.int_range(pl.len()) % (TABLE.height - resold),
    )
    types = TYPES | {"sold": "date", "parcel": "int"}
    shares = SplitParams(validation=0.1, test=0.2, by="sold")
    known = own.head(300)
    ids = row_ids(own, ("parcel",))
    old = sides_by_time(ids.head(300), known["sold"], shares).side == "test"
    new = sides_by_time(ids, own["sold"], shares).side == "test"
    champion = record(tmp_path / "champion", ("parcel",), old, known, types)
    challenger = record(tmp_path / "challenger", ("parcel",), new, own, types)
    both = common_rows(challenger, champion)
    assert both["champion"].unique().to_list() == [200_000.0]
    tested = own.filter(new).height
    assert both.height == tested - 2 * resold, "neither sale of a house that the champion has seen"


def test_an_identity_of_columns_that_are_gone_is_another_table(tmp_path: Path) -> None:
    other = TABLE.with_columns(parcel=pl.int_range(pl.len()).cast(pl.String))
    challenger = record(tmp_path / "challenger", ("north", "east"), every(2))
    champion = record(
        tmp_path / "champion", ("parcel",), every(3), other, TYPES | {"parcel": "string"}
    )
    with pytest.raises(RegistryError, match=r"it knows parcel, which data\.columns does not"):
        common_rows(challenger, champion)

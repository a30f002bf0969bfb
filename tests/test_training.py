"""Rows that are read from a file, some at a time: the same model, and no second copy of them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from housing.domain import stored, tables
from housing.domain.chunks import CHUNK
from housing.domain.config import CandidateParams, NeighbourParams
from housing.domain.features import Transform, label
from housing.domain.split import row_ids
from housing.domain.tables import ROW, TARGET, Table, read_table
from housing.domain.training import Training, train
from tests.synthetic import make_params

PARAMS = make_params()
TREES = CandidateParams(
    booster="gbtree", n_estimators=20, learning_rate=0.2, early_stopping_rounds=5, subsample=0.8
)
LINEAR = TREES.model_copy(update={"booster": "gblinear", "reg_lambda": 0})
NEIGHBOURS = TREES.model_copy(
    update={
        "waves": 40,
        "neighbours": NeighbourParams(
            near=(1, 3), alike=(2,), around=(5,), attributes={"income": 2}, km=20, per="income"
        ),
    }
)
ROWS = {"train": 3 * CHUNK + 100, "validation": CHUNK + 200}
"""No side ends with a part, and one part of what both learn from has rows of both."""


def houses(rows: int, seed: int) -> pl.DataFrame:
    """Houses of which some share an identity, and some have no income."""
    income, north, east = np.random.default_rng(seed).random((rows, 3)).T
    price = 200 + 80 * np.sin(9 * north) * np.cos(9 * east) + 60 * income
    frame = pl.DataFrame(
        {
            "income": income,
            "style": "old",
            "north": 34 + north.round(2),
            "east": -119 + east.round(2),
            "price": price,
        }
    )
    return frame.with_columns(income=pl.when(income > 0.1).then("income"))


FRAMES = {side: houses(rows, seed) for seed, (side, rows) in enumerate(ROWS.items())}
TRANSFORM = Transform.fit(FRAMES["train"], PARAMS)


def whole(side: str) -> Table:
    frame = FRAMES[side]
    ids = row_ids(frame, ("north", "east"))
    return Table(label(frame, ids, TRANSFORM.apply(frame), PARAMS.data))


def saved(training: Training, path: Path) -> bytes:
    training.model.save(path)
    return path.read_bytes()


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tables, stored):
        monkeypatch.setattr(module, "PART", CHUNK)


def test_a_part_is_a_number_of_whole_chunks() -> None:
    assert tables.PART % CHUNK == 0


@pytest.mark.parametrize(
    "settings", [LINEAR, TREES, NEIGHBOURS], ids=["linear", "trees", "neighbours"]
)
def test_a_file_in_parts_gives_the_bits_of_a_table_in_memory(
    settings: CandidateParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = [whole(side) for side in ROWS]
    together = train(settings, sides[0], sides[1], 7, TRANSFORM)
    for side, table in zip(ROWS, sides, strict=True):
        table.frame.write_parquet(tmp_path / f"{side}.parquet", row_group_size=1_000)
    in_parts(monkeypatch)
    files = [read_table(tmp_path / f"{side}.parquet") for side in ROWS]
    assert len([*files[0].parts(files[0].features)]) == 4
    apart = train(settings, files[0], files[1], 7, TRANSFORM)
    assert apart.first.held_out.tolist() == together.first.held_out.tolist()
    assert apart.first.curve == together.first.curve
    assert saved(apart, tmp_path / "apart.ubj") == saved(together, tmp_path / "a.ubj")


def test_trees_learn_without_a_copy_of_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, width = 8 * CHUNK, 40
    random = np.random.default_rng(1)
    x = random.random((rows, width), dtype=np.float32)
    frame = pl.DataFrame(x, schema=[f"f{number}" for number in range(width)])
    named = frame.with_columns(pl.lit("00").alias(ROW), pl.Series(TARGET, x[:, 0] * 1e5))
    named.write_parquet(tmp_path / "train.parquet")
    few = TREES.model_copy(update={"n_estimators": 2})
    for size in ("whole", "parts"):
        if size == "parts":
            in_parts(monkeypatch)
        table = read_table(tmp_path / "train.parquet")
        tracemalloc.start()  # it sees what NumPy asks for, and not what XGBoost does
        train(few, table, Table(named[:CHUNK]), 7)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # In one part, they are there as a whole: the measure sees them.
        assert (peak > x.nbytes) == (size == "whole"), f"{size}: {peak:,} of {x.nbytes:,} bytes"


def test_what_waits_in_a_file_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    part = np.arange(12, dtype=np.float32).reshape(4, 3)
    with stored.stored([part, part[:1]]) as kept:
        assert not [*tmp_path.iterdir()]
        assert (kept.rows, kept.width) == (5, 3)
        assert np.concatenate([*kept]).tolist() == [*part.tolist(), part[0].tolist()]
    assert kept.file.closed

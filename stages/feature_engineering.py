"""Splits the rows and turns them into features (``housing.domain.split``, ``features``)."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from housing.domain.config import Params
from housing.domain.features import Transform, label
from housing.domain.split import row_ids, sides, sides_by_time
from housing.domain.tables import SIDES
from housing.errors import DataError
from housing.stage import run, say

HOUSES = Path("data/interim/houses.parquet")
FEATURES = Path("data/features")


def main(params: Params) -> None:
    """Writes the three sides and the transformation that was fitted on the training side."""
    sides = _split(params)
    transform = Transform.fit(sides["train"][0], params)
    FEATURES.mkdir(parents=True, exist_ok=True)
    transform.save(FEATURES / "transform.json")
    for name, (frame, own) in sides.items():
        features = (
            transform.apply_to_training(frame, own, params.data.target)
            if name == "train"
            else transform.apply(frame)
        )
        label(frame, own, features, params.data).write_parquet(FEATURES / f"{name}.parquet")
    counted = ", ".join(f"{frame.height:,} {name}" for name, (frame, _) in sides.items())
    say(f"{len(transform.features)} features; rows: {counted}")


def _split(params: Params) -> dict[str, tuple[pl.DataFrame, pl.Series]]:
    """The rows of each side, and the hashes of their identities."""
    try:
        houses = pl.read_parquet(HOUSES)
    except FileNotFoundError as error:
        raise DataError(f"{HOUSES} does not exist", "dvc repro") from error
    ids = row_ids(houses, params.data.identity)
    side = _sides(houses, ids, params)
    return {name: (houses.filter(side == name), ids.filter(side == name)) for name in SIDES}


def _sides(houses: pl.DataFrame, ids: pl.Series, params: Params) -> pl.Series:
    by = params.split.by
    if by is None:
        return sides(ids, params.seed, params.split)
    split = sides_by_time(ids, houses[by], params.split)
    say(
        f"split by {by}: validation from {split.starts['validation']}, test from "
        f"{split.starts['test']}; {split.moved:,} older rows are held out with a newer row of the "
        "same identity"
    )
    return split.side


if __name__ == "__main__":
    run(main)

"""The rows behind a result, kept beside its run so that later models can be compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain.config import Params
from housing.errors import EvidenceError
from housing.mlops.tracking.result import DATA, PREDICTIONS, SEEN, Result

if TYPE_CHECKING:
    import polars as pl

SEEN_ROWS = "rows/seen.parquet"
"""Identities of the rows that training and validation saw: the proof of what was held out."""
TEST_ROWS = "rows/test.parquet"
"""The test rows without their price, and their identities: what another model is scored on."""


def write_rows(result: Result, params: Params, folder: Path) -> None:
    """Writes the files that another model needs for a fair comparison with this result.

    Args:
        result: The result in the workspace.
        params: All of ``params.yaml``.
        folder: Where to write `SEEN_ROWS` and `TEST_ROWS`.
    """
    (folder / SEEN_ROWS).parent.mkdir(parents=True, exist_ok=True)
    seen_rows(result.root).write_parquet(folder / SEEN_ROWS)
    test_rows(result.root, params).write_parquet(folder / TEST_ROWS)


def seen_rows(root: Path) -> pl.DataFrame:
    """Identities of all rows in the training and validation sets: `_row`, sorted and unique."""
    import polars as pl

    parts = [pl.scan_parquet(root / path).select("_row") for path in SEEN]
    return pl.concat(parts).unique().sort("_row").collect()


def test_rows(root: Path, params: Params) -> pl.DataFrame:
    """The test rows as delivered, in the order of the predictions.

    Returns:
        All columns but the target, so that a model of another identity or with other inputs can
        be compared, and `_row`.

    Raises:
        EvidenceError: The predictions are not of these rows.
    """
    import polars as pl

    from housing.domain.split import row_ids

    predicted = pl.read_parquet(root / PREDICTIONS, columns=["_row"])["_row"]
    if predicted.is_empty():
        raise EvidenceError(f"{PREDICTIONS} holds no row", "dvc repro --force")
    houses = pl.read_parquet(root / DATA)
    rows = (
        houses.drop(params.data.target)
        .with_columns(row_ids(houses, params.data.identity).alias("_row"))
        .filter(pl.col("_row").is_in(predicted.unique().implode()))
    )
    if not rows["_row"].equals(predicted):
        raise EvidenceError(
            f"{PREDICTIONS} is not about the test rows of {DATA}", "dvc repro --force"
        )
    return rows

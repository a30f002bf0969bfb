"""Why the model in an alias gives one house of a file its price."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from housing.domain.columns import CsvParams
from housing.domain.config import ScoringParams
from housing.domain.data.check import checked
from housing.domain.data.landing import open_delivery
from housing.domain.data.schema import REASONS, ROW, RowSchema
from housing.domain.explanation import Explanation
from housing.errors import DataError
from housing.mlops.registry.download import serving
from housing.settings import Settings


def explain(
    settings: Settings, params: ScoringParams, file: Path, row: int, version: str
) -> Explanation:
    """Explains the price of one row of a file, by the code that was logged with the model.

    Args:
        settings: Where MLflow is.
        params: Names the registered model, and says how CSV files are written.
        file: A CSV or Parquet file.
        row: Number of the row in it, from 1.
        version: The version that prices it.

    Raises:
        DataError: The file does not fit, or has no such row, or the row breaks a rule.
        EvidenceError: The version is not what was judged: a file of its model differs.
        ModelError: The model cannot price the file, or is older than explanations.
        RegistryError: There is no such version.
        RunNotFoundError: The run of the version was deleted.
        TrackingUnavailableError: MLflow does not answer.
    """
    with serving(settings, params, version) as found:
        house = _house(file, row, RowSchema(found.model.columns, params.data.csv), params.data.csv)
        with found.model.opened() as pricer:
            answer = pricer.explain(house)
    if answer["explanation"][0] is None:
        raise _refused(file, row, answer[REASONS][0])
    return Explanation.model_validate_json(answer["explanation"][0])


def _house(file: Path, row: int, schema: RowSchema, csv: CsvParams) -> pl.DataFrame:
    """One good row of a file, typed."""
    first = 1
    for split in checked(open_delivery(file, schema.names, csv), schema):
        rows = split.good.height + split.bad.height
        if first <= row < first + rows:
            bad = split.bad.filter(pl.col(ROW) == row)
            if bad.height:
                raise _refused(file, row, bad[REASONS][0])
            return split.good[[row - first - split.bad.filter(pl.col(ROW) < row).height]]
        first += rows
    raise DataError(f"{file} has {first - 1} row(s), and no row {row}", f"housing explain {file} 1")


def _refused(file: Path, row: int, reasons: str) -> DataError:
    fact = f"row {row} of {file} has no price: {reasons}"
    return DataError(fact, "correct the row, or explain another one")

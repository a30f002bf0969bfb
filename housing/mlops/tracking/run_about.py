"""What MLflow's pages tell of a run: its datasets, and a description that people can read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from housing.domain.config import Params
from housing.engine.execution.lockfile import read
from housing.mlops.tracking.result import DATA, REPORT, Result

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

NOTE = "mlflow.note.content"
"""Tag that MLflow's page of a run shows as its description."""
INGESTED = "housing.data_ingested"
"""Tag for people: when the data was ingested, in UTC."""
TEST_ROWS = "data/features/test.parquet"
SPEC = {"float": "double", "int": "long"}
"""MLflow's names of the types of columns; the others are strings to it."""


def describe(result: Result, data_time: int) -> dict[str, str]:
    """The tags of a run that are there for people.

    Args:
        result: The result in the workspace.
        data_time: When its data was ingested, in milliseconds since 1970.
    """
    report = json.loads((result.root / REPORT).read_text(encoding="utf-8"))
    rows, metrics = report["rows"], report["metrics"]
    ingested = f"{datetime.fromtimestamp(data_time / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    text = (
        f"**{result.candidate}**, the best of {', '.join(sorted(report['candidates']))} on the "
        f"validation rows: RMSE ${metrics['rmse']:,.0f}, MAE ${metrics['mae']:,.0f}, "
        f"R2 {metrics['r2_score']:.3f} on {rows['test']:,} test rows.\n\n"
        f"Data ingested {ingested}: {sum(rows.values()):,} rows. Result `{result.fingerprint}`."
    )
    return {NOTE: text, INGESTED: ingested}


def datasets(params: Params, result: Result) -> list[DatasetInput]:
    """What the result was made from: the deliveries, the table of them, and the test rows.

    The digest of each is DVC's hash, so that the same data is one dataset in MLflow.

    Args:
        params: Names the deliveries, and the columns with their types.
        result: The result in the workspace.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    hashes: dict[str, str | None] = {DATA: result.hashes[DATA]}
    landing = str(params.data.landing)
    for entry in read(result.root).values():
        hashes |= {path: md5 for path, md5 in entry.deps.items() if path == landing}
        hashes |= {path: out.md5 for path, out in entry.outs.items() if path == TEST_ROWS}
    columns = [
        {"name": name, "type": SPEC.get(column.type, "string"), "required": not column.nullable}
        for name, column in params.data.columns.items()
    ]
    schemas = {DATA: json.dumps({"mlflow_colspec": columns})}
    contexts = {DATA: "training", TEST_ROWS: "evaluation"}
    return [
        DatasetInput(
            Dataset(path, md5, "dvc", json.dumps({"path": path, "md5": md5}), schemas.get(path)),
            [InputTag("mlflow.data.context", contexts.get(path, "delivery"))],
        )
        for path, md5 in sorted(hashes.items())
        if md5
    ]

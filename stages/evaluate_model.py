"""Picks a candidate by validation and scores it once on test: see ``housing.domain.evaluation``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from housing.domain.config import Params
from housing.domain.evaluation import Subject, evaluate, pick_candidate
from housing.domain.explained_rows import explained_rows
from housing.domain.features import Transform
from housing.domain.model import Model
from housing.domain.tables import SIDES, read_table
from housing.engine.errors import typeable
from housing.errors import ModelError
from housing.stage import run, say

FEATURES = Path("data/features")
TRANSFORM = FEATURES / "transform.json"
MODELS = Path("models")
REPORTS = Path("reports")


def main(params: Params) -> None:
    """Writes the report, the predictions, some explanations, and the tables behind the plots."""
    trainings = {name: _training(name) for name in params.candidates}
    candidate = pick_candidate(trainings)
    model, transform = Model.load(MODELS / f"{candidate}.ubj"), Transform.load(TRANSFORM)
    files = {side: FEATURES / f"{side}.parquet" for side in SIDES}
    test = read_table(files["test"])
    found = evaluate(
        Subject(
            candidate=candidate,
            model=model,
            trainings=trainings,
            rows={
                side: pl.scan_parquet(file).select(pl.len()).collect().item()
                for side, file in files.items()
            },
            validation=read_table(files["validation"]),
            held_out=_held_out(candidate),
            test=test,
            places=transform.places,
        ),
        params,
    )
    (REPORTS / "plots").mkdir(parents=True, exist_ok=True)
    _write(REPORTS / "evaluation_report.json", found.report)
    # The report as a whole is too wide for `dvc metrics show`.
    _write(REPORTS / "metrics.json", found.report["metrics"])
    explained = explained_rows(model, transform, test, found.predictions)
    _write(REPORTS / "explanations.json", [row.model_dump(mode="json") for row in explained])
    found.predictions.write_parquet(REPORTS / "predictions.parquet")
    for name, table in found.plots.items():
        table.write_csv(REPORTS / "plots" / f"{name}.csv")
    metrics, interval = found.report["metrics"], found.report["intervals"]["rmse"]
    say(
        f"{candidate} is the best of {', '.join(trainings)} on the validation rows",
        f"on {found.report['rows']['test']:,} test rows: RMSE ${metrics['rmse']:,.0f} "
        f"(${interval['low']:,.0f} to ${interval['high']:,.0f} at "
        f"{found.report['confidence']:.0%}), MAE ${metrics['mae']:,.0f}, "
        f"R2 {metrics['r2_score']:.3f}, MAPE {metrics['mape']:.1f} %",
        *_leftovers(params),
    )


def _write(path: Path, content: dict[str, Any] | list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _leftovers(params: Params) -> list[str]:
    """What to say of models that are no candidate's any more: DVC hashes the folder as it is."""
    known = {f"{name}.ubj" for name in params.candidates}
    names = sorted(path.name for path in MODELS.glob("*.ubj") if path.name not in known)
    if not names:
        return []
    return [
        f"{MODELS} also holds {', '.join(names)}, of no candidate in params.yaml: not read, yet "
        f"in the folder's hash; {typeable('housing repro')} removes what stages that are gone left"
    ]


def _held_out(candidate: str) -> NDArray[np.float64]:
    path = MODELS / f"{candidate}.held_out.parquet"
    try:
        return pl.read_parquet(path)["predicted"].to_numpy()
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist", "dvc repro") from error


def _training(candidate: str) -> dict[str, Any]:
    path = REPORTS / "training" / f"{candidate}.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist", "dvc repro") from error
    return report


if __name__ == "__main__":
    run(main, without=("sklearn",))  # XGBoost would import it for classes not used here

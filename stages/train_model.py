"""Trains one candidate: see ``housing.domain.model``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import polars as pl

from housing.domain.config import Params
from housing.domain.features import Transform
from housing.domain.metrics import regression_metrics
from housing.domain.tables import ROW, read_table
from housing.domain.training import train
from housing.errors import ConfigError
from housing.stage import run, say

FEATURES = Path("data/features")
MODELS = Path("models")
REPORTS = Path("reports/training")


def main(params: Params) -> None:
    """Writes the model of the candidate named on the command line, and how its training went.

    The held-out prices of the validation rows stand beside the model, which has learned from them.
    """
    candidate = sys.argv[1] if len(sys.argv) > 1 else ""
    if candidate not in params.train:
        names = ", ".join(params.train)
        raise ConfigError(
            f"{candidate!r} is no candidate of params.yaml, which has {names}",
            "python stages/train_model.py CANDIDATE",
        )
    validation = read_table(FEATURES / "validation.parquet")
    start = time.monotonic()
    training = train(
        params.train[candidate],
        read_table(FEATURES / "train.parquet"),
        validation,
        params.seed,
        Transform.load(FEATURES / "transform.json"),
    )
    seconds = time.monotonic() - start
    MODELS.mkdir(parents=True, exist_ok=True)
    training.model.save(MODELS / f"{candidate}.ubj")
    held_out = pl.DataFrame({ROW: validation.column(ROW), "predicted": training.first.held_out})
    held_out.write_parquet(MODELS / f"{candidate}.held_out.parquet")
    metrics = regression_metrics(validation.y, training.first.held_out)
    report = {
        "candidate": candidate,
        "best_iteration": training.first.best_iteration,
        "validation": metrics,
        "curve": [asdict(step) for step in training.first.curve],
    }
    REPORTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    (REPORTS / f"{candidate}.json").write_text(text, encoding="utf-8")
    say(
        f"{candidate}: RMSE ${metrics['rmse']:,.0f} on {validation.height:,} "
        f"validation rows, best iteration {training.first.best_iteration}, {seconds:.1f} s"
    )


if __name__ == "__main__":
    run(main, without=("sklearn",))  # XGBoost would import it for classes not used here

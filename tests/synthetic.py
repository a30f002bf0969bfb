"""Small results of the pipeline, made without running it: the files and the ``dvc.lock``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from housing.domain.config import CandidateParams, Params, load_params, parse_params
from housing.domain.data.quality import describe
from housing.domain.features import Transform, label
from housing.domain.metrics import conformal_halfwidth, regression_metrics
from housing.domain.split import row_ids, sides
from housing.domain.tables import Table
from housing.domain.training import Training, train
from housing.mlops.tracking.result import file_md5
from housing.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
COLUMNS = {
    "income": {"type": "float", "nullable": True, "description": "of the household"},
    "style": {"type": "string", "nullable": True},
    "north": {"type": "float", "role": "latitude"},
    "east": {"type": "float", "role": "longitude"},
    "price": {"type": "float", "role": "target", "scale": 1000},
}
OUTS = {
    "ingest_data": ["data/interim/houses.parquet", "reports/data_quality.json"],
    "feature_engineering": [
        "data/features/train.parquet",
        "data/features/validation.parquet",
        "data/features/test.parquet",
        "data/features/transform.json",
    ],
    "train_model@xgboost": [
        "models/xgboost.ubj",
        "models/xgboost.held_out.parquet",
        "reports/training/xgboost.json",
    ],
    "evaluate_model": ["reports/evaluation_report.json", "reports/predictions.parquet"],
}
DEPS = {
    "ingest_data": [],
    "feature_engineering": ["data/interim/houses.parquet"],
    "train_model@xgboost": ["data/features/train.parquet", "data/features/validation.parquet"],
    "evaluate_model": ["data/features/test.parquet"],
}


def make_params(**gate: float) -> Params:
    """The project's parameters for a small table, with limits that a small model can keep."""
    content: dict[str, Any] = load_params(ROOT / "tests/params.yaml").model_dump(mode="json")
    content["data"] |= {"columns": COLUMNS, "identity": ["north", "east"]}
    content["features"] |= {"ratios": {}, "rotations": []}
    content["candidates"] = ["xgboost"]
    limits = {"min_r2": 0.1, "max_rmse": 100_000, "max_coverage_gap": 0.2, "min_rows": 50}
    content["gate"] |= {**limits, "resamples": 200, **gate}
    return parse_params(content)


def streets(landing: str, **sections: object) -> Params:
    """The project's parameters for a table of rooms, street and price, without features.

    Args:
        landing: The landing folder.
        sections: Further sections of ``params.yaml`` that replace the project's.
    """
    content: dict[str, Any] = load_params(ROOT / "tests/params.yaml").model_dump(mode="json")
    columns = {
        "rooms": {"type": "int", "min": 1},
        "street": {"type": "string"},
        "price": {"type": "float", "role": "target"},
    }
    data = {"landing": landing, "columns": columns, "identity": ["street"]}
    return parse_params({**content, "data": data, "features": {}, **sections})


def under_model(params: Params, model: str) -> Params:
    """The same parameters for a registered model of its own: a server is shared by many tests."""
    registry = params.registry.model_copy(update={"model": model})
    return params.model_copy(update={"registry": registry})


def houses(rows: int = 1200, seed: int = 1) -> pl.DataFrame:
    """Houses whose price depends on income, style and place; the first rows of a seed stay."""
    table = np.random.default_rng(seed).random((rows, 5))
    income, style, north, east, noise = table.T
    price = 100_000 + 300_000 * income + 80_000 * (style > 0.5) + 60_000 * north
    return pl.DataFrame(
        {
            "income": income,
            "style": np.where(style > 0.5, "new", "old"),
            "north": 34 + np.round(2 * north, 2),
            "east": -119 + np.round(2 * east, 2),
            "price": np.round(price + 50_000 * noise, 2),
        }
    )


@dataclass
class Workspace:
    """A folder as the pipeline leaves it, and where its MLflow is."""

    root: Path
    store: str
    experiment: str = "housing"
    params: Params = field(default_factory=make_params)

    @property
    def settings(self) -> Settings:
        own = {
            "tracking_uri": self.store,
            "experiment": self.experiment,
            "mlflow_timeout": 5.0,
        }
        return load_settings(self.root).model_copy(update=own)

    def make(self, table: pl.DataFrame, rounds: int = 40, at: float | None = None) -> Workspace:
        """Writes the result that the pipeline would make of a table.

        Args:
            table: The houses.
            rounds: Boosting rounds: fewer give a worse model.
            at: When the data was ingested, in seconds since 1970.
        """
        for paths in OUTS.values():
            for path in paths:
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        data = self.root / "data/interim/houses.parquet"
        table.write_parquet(data)
        if at is not None:
            os.utime(data, (at, at))
        content = self.params.model_dump(mode="json", exclude_none=True)
        (self.root / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        (self.root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
        self._write("reports/data_quality.json", {"columns": describe(table)})
        tables, transform = self._features(table)
        settings = self.params.train["xgboost"].model_dump() | {"n_estimators": rounds}
        training = train(
            CandidateParams(**settings | {"learning_rate": 0.1}),
            tables["train"],
            tables["validation"],
            seed=7,
        )
        training.model.save(self.root / "models/xgboost.ubj")
        held_out = pl.DataFrame({"predicted": training.first.held_out})
        held_out.write_parquet(self.root / "models/xgboost.held_out.parquet")
        curve = [vars(step) for step in training.first.curve]
        self._write("reports/training/xgboost.json", {"candidate": "xgboost", "curve": curve})
        self._evaluate(training, tables, transform)
        self.lock()
        return self

    def lock(self) -> None:
        """Writes the ``dvc.lock`` that fits the files."""
        stages = {
            stage: {
                "cmd": stage,
                "deps": [self._entry(path) for path in DEPS[stage]],
                "outs": [self._entry(path) for path in outs],
            }
            for stage, outs in OUTS.items()
        }
        text = yaml.safe_dump({"schema": "2.0", "stages": stages})
        (self.root / "dvc.lock").write_text(text, encoding="utf-8")

    def _features(self, table: pl.DataFrame) -> tuple[dict[str, Table], Transform]:
        ids = row_ids(table, self.params.data.identity)
        side = sides(ids, self.params.seed, self.params.split)
        transform = Transform.fit(table.filter(side == "train"), self.params)
        transform.save(self.root / "data/features/transform.json")
        tables = {}
        for name in ("train", "validation", "test"):
            mask = side == name
            frame = table.filter(mask)
            rows = label(frame, ids.filter(mask), transform.apply(frame), self.params.data)
            rows.write_parquet(self.root / f"data/features/{name}.parquet")
            tables[name] = Table(rows)
        return tables, transform

    def _evaluate(self, training: Training, tables: dict[str, Table], transform: Transform) -> None:
        test, validation = tables["test"], tables["validation"]
        predicted = training.model.predict(test.x)
        coverage = self.params.evaluate.coverage
        half = conformal_halfwidth(validation.y, training.first.held_out, coverage)
        metrics = regression_metrics(test.y, predicted)
        own = regression_metrics(validation.y, training.first.held_out)
        self._write(
            "reports/evaluation_report.json",
            {
                "candidate": "xgboost",
                "candidates": {"xgboost": own},
                "rows": {name: table.frame.height for name, table in tables.items()},
                "metrics": metrics,
                "intervals": {
                    name: {"low": v * 0.9, "high": v * 1.1} for name, v in metrics.items()
                },
                "confidence": 0.95,
                "importance": dict.fromkeys(transform.features, 0.1),
                "prediction_interval": {
                    "nominal": coverage,
                    "halfwidth": half,
                    "coverage": float(np.mean(np.abs(test.y - predicted) <= half)),
                },
            },
        )
        pl.DataFrame(
            {
                "_row": test.frame["_row"],
                "latitude": test.frame["_latitude"],
                "longitude": test.frame["_longitude"],
                "actual": test.y,
                "predicted": predicted,
                "lower": predicted - half,
                "upper": predicted + half,
            }
        ).write_parquet(self.root / "reports/predictions.parquet")

    def _write(self, path: str, content: object) -> None:
        (self.root / path).write_text(json.dumps(content), encoding="utf-8")

    def _entry(self, path: str) -> dict[str, object]:
        file = self.root / path
        return {"path": path, "md5": file_md5(file), "size": file.stat().st_size}

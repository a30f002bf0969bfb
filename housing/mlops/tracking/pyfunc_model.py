"""The served model: MLflow copies this file into the bundle and runs it there."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pandas as pd
import polars as pl
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from housing.domain.features import Transform
from housing.domain.model import Model


class HousePrices(PythonModel):
    """Prices of houses, in dollars, with a prediction interval."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the booster, the transform and the interval from the bundle."""
        report = json.loads(Path(context.artifacts["report"]).read_text(encoding="utf-8"))
        self.halfwidth = float(report["prediction_interval"]["halfwidth"])
        self.transform = Transform.load(Path(context.artifacts["transform"]))
        self.model = Model.load(Path(context.artifacts["model"]))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, object] | None = None,  # noqa: ARG002 - MLflow's signature
    ) -> pd.DataFrame:
        """Prices houses.

        Args:
            context: Where the bundle is; read when it was loaded.
            model_input: One house a line, in the columns of a delivery.
            params: None are known.

        Returns:
            `prediction`, and the ends of its interval `lower` and `upper`, in dollars.
        """
        features = self.transform.apply(pl.from_pandas(model_input))
        price = self.model.predict(features.to_numpy(order="c"))
        return pd.DataFrame(
            {
                "prediction": price,
                "lower": price - self.halfwidth,
                "upper": price + self.halfwidth,
            }
        )


mlflow.models.set_model(HousePrices())

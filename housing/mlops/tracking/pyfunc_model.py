"""The served model: MLflow copies this file into the bundle and runs it there."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import polars as pl
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from housing.domain.config import Column
from housing.domain.data.schema import REASONS, ROW, RowSchema
from housing.domain.features import Transform
from housing.domain.model import Model


class HousePrices(PythonModel):
    """Prices of houses, in dollars, with a prediction interval."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the booster, the transform, the interval and the rules from the bundle."""
        report = json.loads(Path(context.artifacts["report"]).read_text(encoding="utf-8"))
        self.halfwidth = float(report["prediction_interval"]["halfwidth"])
        self.transform = Transform.load(Path(context.artifacts["transform"]))
        self.model = Model.load(Path(context.artifacts["model"]))
        rules = json.loads(Path(context.artifacts["columns"]).read_text(encoding="utf-8"))
        self.schema = RowSchema({name: Column.model_validate(rules[name]) for name in rules})

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, object] | None = None,  # noqa: ARG002 - MLflow's signature
    ) -> pd.DataFrame:
        """Prices houses.

        A row that breaks a rule of ``columns.json``, by which training and batch scoring send a row
        to quarantine, has no price but reasons. The other rows are priced all the same.

        Args:
            context: Where the bundle is; read when it was loaded.
            model_input: One house a line, in the columns of a delivery. A nullable column may be
                left out.
            params: None are known.

        Returns:
            `prediction`, and the ends of its interval `lower` and `upper`, in dollars; `reasons`,
            empty where there is a price. None stands for what is not there, which is null in JSON.
        """
        split = self.schema.split(self._complete(pl.from_pandas(model_input)))
        good = np.ones(len(model_input), dtype=np.bool_)
        good[split.bad[ROW].to_numpy() - 1] = False
        price = np.full(len(model_input), np.nan)
        if split.good.height:
            features = self.transform.apply(split.good)
            price[good] = self.model.predict(features.to_numpy(order="c"))
        reasons = np.full(len(model_input), None, dtype=object)
        reasons[~good] = split.bad[REASONS].to_list()
        answer = pd.DataFrame(
            {
                "prediction": price,
                "lower": price - self.halfwidth,
                "upper": price + self.halfwidth,
            }
        )
        if not good.all():  # MLflow's server would write NaN, which is no JSON
            answer = answer.astype(object).where(answer.notna(), None)
        return answer.assign(reasons=pd.Series(reasons, dtype=object))

    def _complete(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with a column of nulls for each nullable one that was left out."""
        return rows.with_columns(
            pl.lit(None, dtype).alias(name)
            for name, dtype in self.schema.dtypes.items()
            if name not in rows.columns and self.schema.columns[name].nullable
        )


mlflow.models.set_model(HousePrices())

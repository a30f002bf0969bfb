"""The model as MLflow serves it: MLflow copies this file into the bundle and runs it there."""

from __future__ import annotations

import mlflow
import pandas as pd
import polars as pl
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from housing.domain.appraiser import Appraiser


class HousePrices(PythonModel):
    """Prices of houses, in dollars, with a prediction interval."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads the booster, the transform, the interval and the rules from the bundle."""
        self.appraiser = Appraiser.load(context.artifacts)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, object] | None = None,  # noqa: ARG002 - MLflow's signature
    ) -> pd.DataFrame:
        """Prices houses, see `housing.domain.appraiser.Appraiser.price`.

        Args:
            context: Where the bundle is; read when it was loaded.
            model_input: One house a line, in the columns of a delivery. A nullable column may be
                left out.
            params: None are known.

        Returns:
            `prediction`, `lower` and `upper` in dollars, and `reasons`. None stands for what is not
            there, which is null in JSON.
        """
        answer = self.appraiser.price(pl.from_pandas(model_input)).to_pandas()
        reasons = answer.pop("reasons").astype(object)
        if reasons.notna().any():  # MLflow's server would write NaN, which is no JSON
            answer = answer.astype(object).where(answer.notna(), None)
        return answer.assign(reasons=reasons.where(reasons.notna(), None))


mlflow.models.set_model(HousePrices())

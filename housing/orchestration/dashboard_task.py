"""The task that makes the dashboard anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import Context, TriggerRule

from housing.domain.config import load_params
from housing.engine.airflow.error_handling import explained
from housing.orchestration.finish_tasks import SummarizingOperator
from housing.settings import load_settings


class DashboardOperator(SummarizingOperator):
    """Makes the dashboard anew where a model was promoted, or where there was an alert.

    It runs as soon as one task before it succeeded. A run that found nothing to do leaves the page
    alone: its summary shows on the next one.
    """

    ui_color = "#d6ebf5"

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # the base's arguments
        kwargs.setdefault("trigger_rule", TriggerRule.ONE_SUCCESS)
        super().__init__(**kwargs)

    def execute(self, context: Context) -> str:
        """Makes the page.

        Returns:
            The page's path.

        Raises:
            AirflowFailException: The params are wrong: no retry helps.
            TrackingError: MLflow does not answer.
        """
        from housing.dashboard.update import update  # mlflow is too heavy for a DAG file

        self.summarize(context)
        with explained(context):
            settings = load_settings(Path(self.root))
            return str(update(settings, load_params(settings.root / "params.yaml")))

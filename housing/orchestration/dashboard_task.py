"""The tasks that make the dashboard anew."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context, TriggerRule

from housing.dashboard import page_file
from housing.dashboard.runs import add_quiet_run
from housing.domain.config import load_params
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.plan_task import skip_after_plan
from housing.engine.airflow.task_states import states_of
from housing.orchestration.finish_tasks import SummarizingOperator
from housing.settings import load_settings

COLOR = "#d6ebf5"


class DashboardOperator(SummarizingOperator):
    """Makes the dashboard anew after a run of the pipeline, however that ended.

    A run that found nothing to do takes milliseconds: it is put onto the page that is there, see
    `housing.dashboard.runs`. Where the gate knows that beforehand it skips this task, and the
    `SummaryOperator` does it.
    """

    ui_color = COLOR

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # the base's arguments
        kwargs.setdefault("trigger_rule", TriggerRule.ALL_DONE)
        super().__init__(**kwargs)

    def execute(self, context: Context) -> str:
        """Makes the page.

        Returns:
            The page's path.

        Raises:
            AirflowFailException: The params are wrong: no retry helps.
            AirflowSkipException: The run only planned.
            TrackingError: MLflow does not answer.
        """
        skip_after_plan(context["params"])
        with explained(context), _folder(self.root) as folder:
            summary = self.summarize(context, folder, states_of(context["ti"]))
            if add_quiet_run(folder, summary.to_dict()):
                self.log.info("the run found nothing to do: only its line is new")
                return str(page_file(folder))
            return _update(self.root, folder)


class MovedDashboardOperator(BaseOperator):
    """Makes the dashboard anew where an alias moved, or a file was priced.

    Args:
        root: The project's folder.
    """

    ui_color = COLOR

    def __init__(self, *, root: str, **kwargs: Any) -> None:  # noqa: ANN401  # BaseOperator's own
        super().__init__(**kwargs)
        self.root = root

    def execute(self, context: Context) -> str:
        """Makes the page; see `DashboardOperator`."""
        with explained(context), _folder(self.root) as folder:
            return _update(self.root, folder)


@contextmanager
def _folder(root: str) -> Iterator[Path]:
    """The folder of summaries and page: the project's, or one that is gone afterwards.

    Where workspaces are isolated, nobody would find them on this worker: both are in MLflow.
    """
    if load_settings().workspace_kind == "shared":
        yield Path(root)
        return
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        yield Path(folder)


def _update(root: str, folder: Path) -> str:
    from housing.dashboard.update import update  # mlflow is too heavy for a DAG file

    return str(update(load_settings(folder), load_params(Path(root) / "params.yaml")))

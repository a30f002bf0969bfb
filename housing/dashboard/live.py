"""How the live model does: what it was asked to price, and how far that is from its own data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from housing.dashboard.model import Live, ScoredFile
from housing.dashboard.results import moment
from housing.mlops.scored_files import FILE, MODEL_RUN, scoring_experiment
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FILES = 200
"""Files of one version that are looked at, the newest."""

DRIFT = "drift_"


def read_live(
    client: MlflowClient, settings: Settings, run_id: str, quality: dict[str, Any] | None
) -> Live:
    """What the model of a run has priced.

    Args:
        client: An open MLflow.
        settings: Names the experiment.
        run_id: MLflow's run of the model.
        quality: The report on the model's own deliveries, or None.
    """
    runs = client.search_runs(
        [scoring_experiment(client, settings)],
        f"tags.`{MODEL_RUN}` = '{run_id}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=FILES,
    )
    rows_in = quality.get("rows_in", 0) if quality else 0
    usual = quality["rows_quarantined"] / rows_in if quality and rows_in else None
    return Live(tuple(map(_scored_file, runs)), usual)


def _scored_file(run: Run) -> ScoredFile:
    found = run.data.metrics
    return ScoredFile(
        name=run.data.tags[FILE],
        time=moment(run.info.start_time),
        rows=int(found["rows"]),
        quarantined=int(found["quarantined"]),
        drift={
            name.removeprefix(DRIFT): value
            for name, value in found.items()
            if name.startswith(DRIFT)
        },
    )

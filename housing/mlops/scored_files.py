"""Files that were priced, as runs of an MLflow experiment of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from housing.domain.config_rules import plain_name
from housing.mlops.tracking.tracked_run import experiment_id
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from housing.domain.scoring import Scores

_SOURCE = "housing.scoring.source"
MODEL_RUN = "housing.scoring.run_id"
"""Tag of a scored file: MLflow's run of the model that priced it."""
FILE = "housing.scoring.file"
"""Tag of a scored file: its name."""


def track(
    client: MlflowClient, settings: Settings, scores: Scores, distances: Mapping[str, float]
) -> str:
    """Finds the MLflow run of a scored file, or logs it.

    Args:
        client: An open MLflow.
        settings: Names the experiment.
        scores: What became of the file.
        distances: Drift of each column.

    Returns:
        Id of the run.
    """
    from mlflow.entities import Metric, Param

    experiment = scoring_experiment(client, settings)
    wanted = f"tags.`{_SOURCE}` = '{scores.source}' and tags.`{MODEL_RUN}` = '{scores.run_id}'"
    for known in client.search_runs([experiment], f"{wanted} and attributes.status = 'FINISHED'"):
        return str(known.info.run_id)
    tags = {_SOURCE: scores.source, MODEL_RUN: scores.run_id, FILE: scores.file}
    run_id = client.create_run(experiment, tags=tags, run_name=scores.file).info.run_id
    counts = ("rows", "scored", "quarantined", "seconds")
    values = {count: float(getattr(scores, count)) for count in counts}
    values |= {plain_name(f"drift_{column}"): away for column, away in distances.items()}
    now = time.time_ns() // 1_000_000
    metrics = [Metric(name, value, now, 0) for name, value in values.items()]
    client.log_batch(run_id, metrics, [Param("version", scores.version)])
    client.log_dict(run_id, scores.model_dump(mode="json"), "scores.json")
    client.set_terminated(run_id)
    return str(run_id)


def scoring_experiment(client: MlflowClient, settings: Settings) -> str:
    """The experiment of the scored files; made where it is missing."""
    name = f"{settings.experiment}-scoring"
    return experiment_id(client, name, settings.artifact_location)

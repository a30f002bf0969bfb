"""The runs of the DAG in MLflow, one MLflow run for each, so that the page needs nothing else.

Airflow's last task leaves a summary of each run in the project's folder. They are put into MLflow,
in an experiment of their own, before the page is made: a page made after the folder is lost, or on
another machine, still shows them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from housing.dashboard.files import RunFiles
from housing.dashboard.runs import Row, shown, summary_files
from housing.mlops.tracking.run_content import seconds_name
from housing.mlops.tracking.tracked_run import experiment_id, set_run_tag
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_logger = logging.getLogger(__name__)

KEPT = 50
"""Runs that are looked at: newer ones only."""

RUN = "housing.dag_run"
DIGEST = "housing.summary"
SUMMARY = "summary.json"


def record_runs(client: MlflowClient, settings: Settings) -> None:
    """Puts the summaries that MLflow does not hold yet into MLflow.

    Args:
        client: An open MLflow.
        settings: Where the project's folder is.
    """
    files = summary_files(settings.root)
    if not files:
        return
    experiment = _experiment(client, settings)
    known = {run.data.tags[RUN]: run for run in _runs(client, experiment)}
    for file in files[-KEPT:]:
        summary, digest = _read(file)
        if summary is None:
            continue
        run = known.get(summary["run_id"]) or _create(client, experiment, summary)
        if run.data.tags.get(DIGEST) != digest:
            _log(client, run, summary)
            set_run_tag(client, run.info.run_id, DIGEST, digest)


def read_runs(
    client: MlflowClient, settings: Settings, files: RunFiles, limit: int
) -> Iterator[Row]:
    """The runs of the DAG that MLflow holds, newest first.

    Args:
        client: An open MLflow.
        settings: Where MLflow is.
        files: Where downloads go.
        limit: How many.
    """
    found = _runs(client, _experiment(client, settings))[:limit]
    summaries = (files.json(run.info.run_id, SUMMARY) for run in found)
    # A run that was cleared ended anew: its place among the others is that of its last end.
    yield from sorted(
        (shown(summary) for summary in summaries if summary is not None),
        key=lambda run: str(run["ended"]),
        reverse=True,
    )


def _read(file: Path) -> tuple[dict[str, Any] | None, str]:
    """The summary in a file, or None where the file is broken, and the hash of its content."""
    text = file.read_bytes()
    try:
        summary: dict[str, Any] = json.loads(text)
        shown(summary)  # reads each of its parts
        summary["saved_minutes"] += 0.0
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        fault = f"{type(error).__name__}: {error}"
        _logger.warning(
            "%s is no summary of a run (%s) and is left out; next: rm %s", file, fault, file
        )
        return None, ""
    return summary, hashlib.sha256(text).hexdigest()[:16]


def _experiment(client: MlflowClient, settings: Settings) -> str:
    return experiment_id(client, f"{settings.experiment}-runs", settings.artifact_location)


def _runs(client: MlflowClient, experiment: str) -> list[Run]:
    return list(
        client.search_runs(
            [experiment], order_by=["attributes.start_time DESC"], max_results=2 * KEPT
        )
    )


def _create(client: MlflowClient, experiment: str, summary: dict[str, Any]) -> Run:
    ended = datetime.fromisoformat(summary["ended"])
    name = summary["run_id"]
    return client.create_run(
        experiment, start_time=int(ended.timestamp() * 1000), tags={RUN: name}, run_name=name
    )


def _log(client: MlflowClient, run: Run, summary: dict[str, Any]) -> None:
    run_id = run.info.run_id
    client.log_dict(run_id, summary, SUMMARY)
    client.log_metric(run_id, "saved_minutes", summary["saved_minutes"])
    for line in summary["stages"]:
        client.log_metric(run_id, seconds_name(line["stage"]), line["seconds"])
    client.set_terminated(run_id, "FINISHED" if summary["state"] == "success" else "FAILED")

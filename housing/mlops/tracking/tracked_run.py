"""One MLflow run for one result: found by the result's fingerprint, or logged.

The run is not an output of DVC: outputs stay pure functions of deps and params. Whoever needs the
run asks for it by fingerprint; where MLflow does not know it (another store, a deleted run, a
logging that was cut off), it is logged from the files in the workspace.
"""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain.config import Params
from housing.errors import EvidenceError, TrackingError
from housing.mlops.tracking import run_content
from housing.mlops.tracking.bundle import log_model
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.digest import BUNDLE
from housing.mlops.tracking.logged_rows import SEEN_ROWS, TEST_ROWS, write_rows
from housing.mlops.tracking.result import (
    DATA,
    Result,
    data_time,
    differing,
    file_md5,
    git_revision,
    read_result,
)
from housing.mlops.tracking.run_about import datasets, describe
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RESULT = "housing.result"
COMPLETE = "housing.complete"
CANDIDATE = "housing.candidate"
REVISION = "housing.git_revision"
OVERRIDES = "housing.overrides"
DATA_TIME = "housing.data_time"
MODEL_ID = "housing.model_id"
HASH = "housing.dvc."
ROWS = "housing.rows."
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag that tells MLflow's UI that an experiment is of models, not of prompts."""
BATCH = 1000
"""Metrics that MLflow takes in one request."""
PARAM_BATCH = 100
LOGGED = ("reports/**/*.json", "reports/**/*.csv", "reports/**/*.parquet", "params.yaml")
LOGGED_ROOT = ("dvc.yaml", "dvc.lock")


def track(settings: Settings, params: Params) -> str:
    """Makes sure that MLflow holds the result that stands in the workspace.

    Args:
        settings: Where MLflow and the workspace are.
        params: All of ``params.yaml``.

    Returns:
        Id of the run, complete.

    Raises:
        EvidenceError: The workspace does not hold what ``dvc.lock`` says.
        TrackingUnavailableError: MLflow does not answer.
        TrackingError: The experiment was deleted.
    """
    result = read_result(settings.root)
    with connected(settings) as client:
        return str(find_or_log(client, settings, params, result).info.run_id)


def find_or_log(
    client: MlflowClient,
    settings: Settings,
    params: Params,
    result: Result,
    bring: Callable[[], object] = lambda: None,
) -> Run:
    """Finds the complete run of a result, finishes a half-logged one, or logs a new one.

    Everything is logged under fixed names and times, so logging twice leaves the same run, and
    two processes that log the same result at once help each other.

    Args:
        client: An open MLflow.
        settings: Where MLflow is.
        params: All of ``params.yaml``.
        result: The result in the workspace.
        bring: Lays its files into the workspace, where something is to be logged and other workers
            than this one made them.
    """
    experiment = experiment_id(client, settings.experiment, settings.artifact_location)
    known = runs_of(client, experiment, result.fingerprint)
    complete = [run for run in known if COMPLETE in run.data.tags]
    if complete:
        return _adopted(client, settings, complete[0])
    bring()
    faults = differing(result)
    if faults:
        raise EvidenceError(f"the workspace has another result: {'; '.join(faults)}", "dvc repro")
    run = known[0] if known else _create(client, settings, experiment, result)
    _log(client, params, result, run)
    return _adopted(client, settings, client.get_run(run.info.run_id))


def _adopted(client: MlflowClient, settings: Settings, run: Run) -> Run:
    """Takes the mark of overrides off a result that the repository's own params make as well."""
    from mlflow.entities import RunTag

    if settings.overrides or not run.data.tags.get(OVERRIDES):
        return run
    client.log_batch(run.info.run_id, tags=[RunTag(OVERRIDES, "")])
    return client.get_run(run.info.run_id)


def experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Finds an experiment, or makes it.

    Args:
        client: An open MLflow.
        name: Name of the experiment.
        artifacts: Where a new experiment keeps its artifacts, or None to let the server decide.

    Raises:
        TrackingError: Somebody deleted the experiment.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifacts, KIND))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # somebody was faster
    if experiment is None or experiment.lifecycle_stage == "deleted":
        number = experiment.experiment_id if experiment else "?"
        raise TrackingError(
            f"the MLflow experiment {name} was deleted",
            f"mlflow experiments restore --experiment-id {number}",
        )
    return str(experiment.experiment_id)


def runs_of(client: MlflowClient, experiment: str, fingerprint: str) -> list[Run]:
    """The runs of a result that are not deleted, oldest first.

    A complete run without the digest of its model was logged before models had one: nothing proves
    the code in it, so it does not count, and the result is logged anew.
    """
    found = client.search_runs([experiment], f"tags.`{RESULT}` = '{fingerprint}'")
    counted = [run for run in found if COMPLETE not in run.data.tags or BUNDLE in run.data.tags]
    return sorted(counted, key=lambda run: (run.info.start_time, run.info.run_id))


def _create(client: MlflowClient, settings: Settings, experiment: str, result: Result) -> Run:
    revision = settings.git_revision or git_revision(result.root)
    seen = _first_seen(client, experiment, result)
    tags = {
        **describe(result, seen),
        RESULT: result.fingerprint,
        CANDIDATE: result.candidate,
        REVISION: revision,
        DATA_TIME: str(seen),
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "dvc.yaml",
        "mlflow.source.git.commit": revision.removesuffix("+"),
        **{f"{HASH}{path}": md5 for path, md5 in result.hashes.items()},
        **({OVERRIDES: "\n".join(settings.overrides)} if settings.overrides else {}),
    }
    name = f"{result.candidate} {result.fingerprint[:6]}"
    mine = client.create_run(experiment, tags=tags, run_name=name)
    first = runs_of(client, experiment, result.fingerprint)[0]
    if first.info.run_id != mine.info.run_id:  # two processes made a run of the same result
        client.delete_run(mine.info.run_id)
    return first


def _first_seen(client: MlflowClient, experiment: str, result: Result) -> int:
    """When this data was first ingested, as far as MLflow or the workspace knows."""
    earlier = client.search_runs([experiment], f"tags.`{HASH}{DATA}` = '{result.hashes[DATA]}'")
    times = [int(run.data.tags[DATA_TIME]) for run in earlier if DATA_TIME in run.data.tags]
    return min([*times, data_time(result.root)])


def _log(client: MlflowClient, params: Params, result: Result, run: Run) -> None:
    from mlflow.entities import RunTag

    run_id = run.info.run_id
    _log_numbers(client, params, result, run)
    _again(partial(client.log_inputs, run_id, datasets(params, result)))
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        staged = Path(folder)
        write_rows(result, params, staged)
        hashes = {name: file_md5(staged / name) for name in (SEEN_ROWS, TEST_ROWS)}
        _stage_files(result, staged)
        client.log_artifacts(run_id, folder)
    logged = log_model(client, params, result, run)
    client.log_batch(
        run_id,
        tags=[
            RunTag(MODEL_ID, logged.model_id),
            RunTag(BUNDLE, logged.digest),
            *(RunTag(f"{ROWS}{name}", md5) for name, md5 in hashes.items()),
        ],
    )
    client.set_terminated(run_id)
    set_run_tag(client, run_id, COMPLETE, "true")


def set_run_tag(client: MlflowClient, run_id: str, name: str, value: str) -> None:
    """Sets a tag of a run, as a batch of one.

    MLflow tries a batch again where another process sets the same tag just now; its ``set_tag``
    fails for the slower of the two on SQLite.
    """
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value)])


def _again(call: Callable[[], object]) -> None:
    """Calls a second time where MLflow refuses the first.

    Another process logged the same just now, which fails the slower of the two on the database's
    own constraint. Once they are there, equal values are no fault.
    """
    from mlflow.exceptions import MlflowException

    try:
        call()
    except MlflowException:
        call()


def _log_numbers(client: MlflowClient, params: Params, result: Result, run: Run) -> None:
    from mlflow.entities import Metric, Param

    # One fixed time: MLflow drops a point that it already has, so a second try adds nothing.
    at = run.info.start_time
    points = [Metric(name, value, at, step) for name, value, step in run_content.metrics(result)]
    values = [Param(name, value) for name, value in run_content.parameters(params).items()]
    for start in range(0, len(values), PARAM_BATCH):
        batch = values[start : start + PARAM_BATCH]
        _again(partial(client.log_batch, run.info.run_id, params=batch))
    for start in range(0, len(points), BATCH):
        client.log_batch(run.info.run_id, metrics=points[start : start + BATCH])


def _stage_files(result: Result, folder: Path) -> None:
    paths = [path for pattern in LOGGED for path in result.root.glob(pattern)]
    paths += [result.root / name for name in LOGGED_ROOT]
    for path in paths:
        target = folder / path.relative_to(result.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.resolve())

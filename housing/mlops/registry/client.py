"""What the registry holds, read in MLflow's own terms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from housing.domain.config import Params
from housing.errors import RegistryError, RunNotFoundError
from housing.mlops.tracking.result import TRANSFORM
from housing.mlops.tracking.tracked_run import COMPLETE, HASH, RESULT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

VERDICT = "housing.verdict"
LIMITS = "housing.limits"
SETTLED = "housing.settled"
WITHDRAWN = "housing.withdrawn"
DECLINED = "housing.declined"
METRIC = "housing.metric."
VERDICT_FILE = "gate/verdict.json"
ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""What MLflow answers for a model, an alias or a version that it does not have."""
FORBIDDEN = "PERMISSION_DENIED"
"""The answer to what a login may not do: only an admin's may ask for a model that is not there."""


def moved_aliases(params: Params) -> tuple[str, ...]:
    """The aliases that a promotion moves."""
    names = params.registry
    return (names.staging, names.champion) if names.auto_champion else (names.staging,)


def limits_digest(params: Params) -> str:
    """Identity of the limits that a verdict was made with: 16 hex digits."""
    content = json.dumps(params.gate.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def alias_version(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """The version that an alias points to, or None where it points to none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        forbidden = error.error_code == FORBIDDEN and not _is_registered(client, model)
        if not forbidden and error.error_code not in ABSENT:
            raise
        return None


def _is_registered(client: MlflowClient, model: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return False
    return True


def result_version(client: MlflowClient, model: str, run_id: str) -> ModelVersion | None:
    """The version that was registered from a run, or None where none was."""
    found = client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
    return min(found, key=lambda version: int(version.version), default=None)


def number_of(version: ModelVersion | None) -> str | None:
    """The version's number as text, or None for none."""
    return str(version.version) if version else None


def tagged_hashes(tags: Mapping[str, str]) -> dict[str, str]:
    """DVC's hash of each evidence file, by path, from the tags of a run or of a version."""
    return {name.removeprefix(HASH): md5 for name, md5 in tags.items() if name.startswith(HASH)}


def withdrawn_versions(
    client: MlflowClient, model: str, hashes: Mapping[str, str]
) -> list[ModelVersion]:
    """The versions with the very bytes of a model that a person took back.

    The bytes count, not the result: a new report on the same model is another result.

    Args:
        client: An open MLflow.
        model: Name of the registered model.
        hashes: DVC's hash of the model, of the transform and of other evidence, by path.
    """
    wanted = [f"name = '{model}'"] + [
        f"tags.`{HASH}{path}` = '{md5}'"
        for path, md5 in hashes.items()
        if path == TRANSFORM or path.startswith("models/")
    ]
    found = client.search_model_versions(" and ".join(wanted))
    return [version for version in found if WITHDRAWN in version.tags]


def get_version(client: MlflowClient, model: str, version: str) -> ModelVersion:
    """One version of a registered model.

    Raises:
        RegistryError: There is no such version.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(model, version)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        raise RegistryError(
            f"{model} has no version {version}", "look at the versions in MLflow's UI"
        ) from error


def tag_version(client: MlflowClient, model: str, version: str, name: str, value: str) -> None:
    """Sets a tag of a version; where two processes set it at once, MLflow lets one of them fail."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_model_version_tag(model, version, name, value)
    except MlflowException:
        if client.get_model_version(model, version).tags.get(name) != value:
            raise


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """A run, deleted or not, or None where MLflow has none: ``mlflow gc`` removes them for ever."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return None


def live_run(client: MlflowClient, run_id: str) -> Run:
    """A run that is complete and not deleted.

    Raises:
        RunNotFoundError: The run is missing, deleted or half logged.
    """
    run = find_run(client, run_id)
    if run is None:
        raise RunNotFoundError(
            f"MLflow has no run {run_id}: `mlflow gc` removes deleted runs for ever",
            "housing run, which logs the result of the workspace again; or: "
            "housing champion VERSION --why TEXT, with a version whose run is there",
            gone=True,
        )
    if run.info.lifecycle_stage != "active":
        import mlflow

        # Without the address MLflow's command line takes a store of its own, and makes it.
        store = f"MLFLOW_TRACKING_URI={mlflow.get_tracking_uri()}"
        raise RunNotFoundError(
            f"the MLflow run {run_id} was deleted",
            f"{store} mlflow runs restore --run-id {run_id}",
        )
    if not is_whole(run.info.lifecycle_stage, run.data.tags):
        raise RunNotFoundError(f"the MLflow run {run_id} is half logged", "dvc repro --force")
    return run


def is_whole(lifecycle: str, tags: dict[str, Any]) -> bool:
    """Whether a run is neither deleted nor half logged."""
    return lifecycle == "active" and tags.get(COMPLETE) == "true" and RESULT in tags

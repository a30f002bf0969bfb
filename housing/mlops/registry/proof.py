"""Whether a version of the registry is still what was judged, asked before it is used."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from housing.errors import EvidenceError
from housing.mlops.registry.client import ABSENT, live_run
from housing.mlops.tracking.digest import BUNDLE, require
from housing.mlops.tracking.tracked_run import MODEL_ID

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MODELS = "models:/"
_META = "registered_model_meta"
"""A file that MLflow's client adds to what it downloads."""


def run_behind(client: MlflowClient, version: ModelVersion) -> Run:
    """The run of a version, where both name the same logged model and the same digest of it.

    Raises:
        EvidenceError: They do not: somebody changed one of them.
        RunNotFoundError: The run is missing, deleted or half logged.
    """
    run = live_run(client, version.run_id or "")
    tags = run.data.tags
    pairs = {
        "logged model": (version.model_id or _source_model(version), tags.get(MODEL_ID)),
        "digest of its files": (version.tags.get(BUNDLE), tags.get(BUNDLE)),
    }
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise EvidenceError(
                f"version {version.version} of {version.name} names the {name} {ours}, its run "
                f"{run.info.run_id} names {theirs}",
                "delete the run in MLflow, then: housing run, which logs the result anew",
            )
    return run


def fetch_proved(client: MlflowClient, version: ModelVersion, folder: Path) -> tuple[Run, Path]:
    """Downloads the logged model of a version, and compares every file with its digest.

    Args:
        client: An open MLflow.
        version: The version.
        folder: An existing folder to fill.

    Returns:
        The run of the version, and the folder of the model.

    Raises:
        EvidenceError: A file of it was changed, added or removed, or nothing proves its files.
        RunNotFoundError: The run is missing, deleted or half logged.
    """
    run = run_behind(client, version)
    name = f"version {version.version} of {version.name}"
    digest = run.data.tags.get(BUNDLE)
    if digest is None:
        raise EvidenceError(
            f"{name} was logged before all files of a model were hashed: nothing proves its code",
            "housing run registers the present result as a new version; "
            "then: housing champion VERSION --why TEXT",
        )
    bundle = fetch_model(run, folder)
    require(bundle, digest, name)
    return run, bundle


def prove(client: MlflowClient, version: ModelVersion) -> None:
    """Stops where a version is not what was judged, see `fetch_proved`."""
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        fetch_proved(client, version, Path(folder))


def fetch_model(run: Run, folder: Path) -> Path:
    """Downloads the logged model of a run; its folder stays empty where MLflow has it no more.

    Args:
        run: The run.
        folder: An existing folder to fill.
    """
    bundle = folder / "bundle"
    bundle.mkdir()
    fetch(f"{MODELS}{run.data.tags.get(MODEL_ID, 'unknown')}", bundle)
    (bundle / _META).unlink(missing_ok=True)
    return bundle


def fetch(uri: str, folder: Path) -> None:
    """Downloads an artifact into a folder; what MLflow does not have is left out."""
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise


def _source_model(version: ModelVersion) -> str:
    return str(version.source or "").removeprefix(MODELS)

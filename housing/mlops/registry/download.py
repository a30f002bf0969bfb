"""What it takes to price houses with a version of the registry: its files, on this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from housing.domain.config import Registered
from housing.errors import RegistryError
from housing.mlops.registry.client import alias_version, get_version, live_run
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.result import REPORT, TRANSFORM, model_path
from housing.mlops.tracking.tracked_run import CANDIDATE, MODEL_ID
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

QUALITY = "reports/data_quality.json"


@dataclass(frozen=True)
class Serving:
    """The files of one version, while they are here.

    Attributes:
        version: The version.
        run_id: Its MLflow run.
        model: The model in XGBoost's own format.
        transform: ``transform.json``.
        report: ``evaluation_report.json``.
        columns: What each column of the training data looked like, see `data.quality.describe`.
    """

    version: str
    run_id: str
    model: Path
    transform: Path
    report: Path
    columns: dict[str, dict[str, Any]]


def holder(settings: Settings, params: Registered, alias: str) -> tuple[str, str]:
    """The version in an alias, and its MLflow run.

    Raises:
        RegistryError: The alias points to nothing.
        TrackingUnavailableError: MLflow does not answer.
    """
    with connected(settings) as client:
        version = _held(client, params.registry.model, alias)
        return str(version.version), version.run_id or ""


@contextmanager
def serving(settings: Settings, params: Registered, version: str) -> Iterator[Serving]:
    """Fetches the files of a version into a folder that goes away afterwards.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.
        version: Its version.

    Yields:
        The files.

    Raises:
        RegistryError: There is no such version.
        RunNotFoundError: Its run was deleted.
        TrackingUnavailableError: MLflow does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        yield _fetch(settings, params.registry.model, version, Path(folder))


def _held(client: MlflowClient, model: str, alias: str) -> ModelVersion:
    version = alias_version(client, model, alias)
    if version is None:
        raise RegistryError(f"{alias} points to no version of {model}", "housing champion VERSION")
    return version


def _fetch(settings: Settings, model: str, version: str, folder: Path) -> Serving:
    import mlflow.artifacts

    with connected(settings) as client:
        run_id = get_version(client, model, version).run_id or ""
        tags = live_run(client, run_id).data.tags
        bundle = mlflow.artifacts.download_artifacts(
            f"models:/{tags[MODEL_ID]}", dst_path=str(folder)
        )
        quality = mlflow.artifacts.download_artifacts(
            f"runs:/{run_id}/{QUALITY}", dst_path=str(folder)
        )
    names = (model_path(tags[CANDIDATE]), TRANSFORM, REPORT)
    model_file, transform, report = (Path(bundle) / "artifacts" / Path(name).name for name in names)
    content = json.loads(Path(quality).read_text(encoding="utf-8"))
    return Serving(version, run_id, model_file, transform, report, content["columns"])

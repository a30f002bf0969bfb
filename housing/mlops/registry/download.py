"""What it takes to price houses with a version of the registry: its logged model, here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from housing.domain.config import Registered
from housing.domain.scoring import ServedModel
from housing.errors import RegistryError
from housing.mlops.registry.client import alias_version, get_version
from housing.mlops.registry.proof import fetch_proved
from housing.mlops.tracking.bundle import read_columns
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.worker import Worker
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

QUALITY = "reports/data_quality.json"


@dataclass(frozen=True)
class Serving:
    """One version, while its logged model is here.

    Attributes:
        model: What prices houses, in a process of its own.
        columns: What each column of the training data looked like, see `data.quality.describe`.
    """

    model: ServedModel
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
    """Fetches the logged model of a version into a folder that goes away afterwards.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.
        version: Its version.

    Yields:
        The version, proved to be what was judged.

    Raises:
        EvidenceError: A file of the logged model was changed, added or removed.
        RegistryError: There is no such version.
        RunNotFoundError: Its run was deleted.
        TrackingUnavailableError: MLflow does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        yield _fetch(settings, params.registry.model, version, Path(folder))


def _held(client: MlflowClient, model: str, alias: str) -> ModelVersion:
    version = alias_version(client, model, alias)
    if version is None:
        known = client.search_model_versions(f"name = '{model}'", max_results=1)
        other = "housing champion VERSION --why TEXT, or take another one: --alias staging"
        raise RegistryError(
            f"{alias} points to no version of {model}", other if known else "housing run"
        )
    return version


def _fetch(settings: Settings, model: str, version: str, folder: Path) -> Serving:
    import mlflow.artifacts

    with connected(settings) as client:
        run, bundle = fetch_proved(client, get_version(client, model, version), folder)
        run_id = run.info.run_id
        quality = mlflow.artifacts.download_artifacts(
            f"runs:/{run_id}/{QUALITY}", dst_path=str(folder)
        )
    served = ServedModel(run_id, version, read_columns(bundle), partial(Worker, bundle))
    content = json.loads(Path(quality).read_text(encoding="utf-8"))
    return Serving(served, content["columns"])

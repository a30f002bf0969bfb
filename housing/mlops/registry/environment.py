"""What made the model in an alias: the versions of Python and of the libraries."""

from __future__ import annotations

import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from housing.domain.config import Params
from housing.mlops.registry.client import alias_version, live_run
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.tracked_run import MODEL_ID
from housing.settings import Settings

_ENVIRONMENT = "conda.yaml"


def made_with(settings: Settings, params: Params, alias: str) -> tuple[str, dict[str, str]] | None:
    """The version in an alias, and what its bundle says it was made with.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.
        alias: The alias.

    Returns:
        The version, and each library's version by name, and Python's as ``python``, such as
        ``3.11``: a patch release changes no output. None where the alias points to nothing.

    Raises:
        RunNotFoundError: The run of the version was deleted.
        TrackingUnavailableError: MLflow does not answer.
    """
    import mlflow.artifacts

    with connected(settings) as client, tempfile.TemporaryDirectory(prefix="housing-") as folder:
        held = alias_version(client, params.registry.model, alias)
        if held is None:
            return None
        model = live_run(client, held.run_id or "").data.tags[MODEL_ID]
        bundle = client.get_logged_model(model).artifact_location
        file = mlflow.artifacts.download_artifacts(f"{bundle}/{_ENVIRONMENT}", dst_path=folder)
        needs = yaml.safe_load(Path(file).read_text(encoding="utf-8"))["dependencies"]
    pinned = [need.split("=") for need in needs if isinstance(need, str) and "=" in need]
    pinned += [need.split("==") for need in needs[-1]["pip"]]
    made = dict(pinned)
    return str(held.version), made | {"python": _minor(made["python"])}


def differences(made: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Which of the versions are others here: the one then and the one here, by name.

    Args:
        made: As ``made_with`` gives them.
    """
    here = {name: _here(name) for name in made}
    return {name: (then, here[name]) for name, then in made.items() if then != here[name]}


def _minor(number: str) -> str:
    return ".".join(number.split(".")[:2])


def _here(name: str) -> str:
    if name == "python":
        return _minor(platform.python_version())
    for package in (name, f"{name}-cpu"):  # the stack's image has xgboost as xgboost-cpu
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "none"

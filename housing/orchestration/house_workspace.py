"""The workspace of a run of the house-price pipeline: shared or not, overrides by its own rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from housing.domain.overrides import override
from housing.engine.airflow import other_workers
from housing.engine.airflow.workspace import Workspace
from housing.engine.files import write_whole
from housing.errors import ConfigError
from housing.settings import Settings, load_settings


def apply_overrides(root: Path, overrides: Sequence[str]) -> None:
    """Replaces parameters in a workspace's ``params.yaml``, where the rules of houses allow it.

    Args:
        root: The workspace.
        overrides: ``path=value`` pairs.

    Raises:
        ConfigError: See `housing.domain.overrides.override`.
    """
    params = root / "params.yaml"
    write_whole(params, override(params.read_text("utf-8"), overrides))


def workspace_of(root: str, ti: Any, overrides: Sequence[str]) -> Workspace:  # noqa: ANN401  # Airflow's
    """The workspace of a run.

    Args:
        root: The project's folder.
        ti: A task instance of the run.
        overrides: The run's overrides, or none.
    """
    isolated = load_settings().workspace_kind == "isolated"
    return Workspace.of(
        Path(root),
        (ti.dag_id, ti.run_id),
        overrides,
        apply_overrides,
        isolated=isolated,
        revision=other_workers.revision(ti) if isolated else "",
    )


def dag_settings(file: str, folder: str = "") -> Settings:
    """The settings of a DAG file.

    Where workspaces are isolated, the project is the DAG bundle that the file lies in, whatever
    ``HOUSING_ROOT`` says: Airflow lays it out on each worker at another place.

    Args:
        file: The DAG file.
        folder: A folder that its tasks share with people, "" for none.

    Raises:
        ConfigError: The environment has faults, or does not fit isolated workspaces.
    """
    settings = load_settings()
    if settings.workspace_kind == "shared":
        return settings
    name = Path(file).name
    if folder:
        raise ConfigError(
            f"{name} takes files from {folder}, a folder of one machine, and "
            "HOUSING_WORKSPACE_KIND=isolated says that workers share none",
            f"echo {name} >>dags/.airflowignore, commit it, and price a file where it lies: "
            "housing predict FILE",
        )
    settings = load_settings(Path(file).resolve().parents[1])
    if settings.store.startswith("sqlite"):
        raise ConfigError(
            f"HOUSING_WORKSPACE_KIND=isolated, and MLflow is {settings.store}, which each worker "
            "has for itself",
            "start a server that all of them reach (mlflow server), and set MLFLOW_TRACKING_URI",
        )
    return settings

"""The environment as typed settings, each with its documented name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from housing.engine.errors import fit_to_show
from housing.engine.root import dvc_root
from housing.errors import ConfigError

WEB = ("http://", "https://")
RUN_LINK = "MLflow run"
"""Name of the link from a task to the MLflow run of the result."""
RUNS = Path(".housing/runs")
"""Folder, below the root, of one JSON summary for each run of the DAG."""


class Settings(BaseModel):
    """What the environment says; every field has a default that works on one machine.

    Attributes:
        root: ``HOUSING_ROOT``: the folder of ``dvc.yaml`` and ``params.yaml``. In a stage's
            command it is DVC's root, whatever the variable says: ``dvc exp run --temp`` works in
            a copy of the repository.
        project: ``HOUSING_PROJECT``: the project's folder, where the root is a copy of it, in which
            a run with overrides works; such a run sets it. MLflow's store stays in the project.
        workspace_kind: ``HOUSING_WORKSPACE_KIND``: ``shared``, all workers of Airflow use one
            folder, or ``isolated``, each has a copy for each run, see docs/workers.md.
        remote_conn_id: ``HOUSING_REMOTE_CONN_ID``: Airflow connection with the login of DVC's
            remote, where the workers do not have it themselves.
        tracking_uri: ``MLFLOW_TRACKING_URI``: an MLflow server, or an SQLite store. By default
            an SQLite store under the project. It may hold a login, so it is left out of the repr.
        artifacts: ``HOUSING_ARTIFACTS``: where a new MLflow experiment keeps its artifacts. By
            default a folder under the project for an SQLite store; a server decides for itself.
        mlflow_url: ``HOUSING_MLFLOW_URL``: where a browser finds MLflow, where that is not the
            tracking URI: links lead there.
        git_revision: ``HOUSING_GIT_REVISION``: the revision of the code, where the root is no
            checkout, as in the stack's image. Else the checkout says it.
        stack: ``HOUSING_STACK``: the servers are the compose stack's: hints name its commands.
        experiment: ``HOUSING_EXPERIMENT``: name of the MLflow experiment.
        mlflow_timeout: ``HOUSING_MLFLOW_TIMEOUT``: seconds to wait for one answer of MLflow.
        retries: ``HOUSING_RETRIES``: how often Airflow tries a failed task again.
        retry_delay: ``HOUSING_RETRY_DELAY``: seconds between two tries.
        overrides: ``HOUSING_OVERRIDES``: JSON list of the ``path=value`` pairs that replace values
            of ``params.yaml`` in this run; a run with overrides sets it for its stages.
        approval_hours: ``HOUSING_APPROVAL_HOURS``: hours in which a person may approve a champion.
        mail_to: ``HOUSING_MAIL_TO``: who gets mail from the pipeline, separated by commas.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Field(default_factory=Path.cwd)
    project: Path | None = None
    workspace_kind: Literal["shared", "isolated"] = "shared"
    remote_conn_id: str = ""
    tracking_uri: str = Field(default="", repr=False)
    artifacts: str = ""
    mlflow_url: str = ""
    git_revision: str = ""
    stack: bool = False
    experiment: str = "housing"
    mlflow_timeout: float = Field(default=10.0, gt=0)
    retries: int = Field(default=2, ge=0)
    retry_delay: float = Field(default=300.0, ge=0)
    overrides: Json[tuple[str, ...]] = ()
    approval_hours: float = Field(default=72.0, gt=0)
    mail_to: str = ""

    @property
    def start(self) -> str:
        """The command that starts Airflow and MLflow."""
        return "make stack" if self.stack else "make up"

    @property
    def store(self) -> str:
        """The tracking URI to use; a server's without login and without a slash at its end.

        What never sees a password cannot write it down: MLflow's client quotes its URI in errors.
        The login is in `login`. A database's URI keeps it, for there is no other place.
        """
        uri = self.tracking_uri or f"sqlite:///{self._home}/.mlflow/mlflow.db"
        return fit_to_show(uri).rstrip("/") if uri.startswith(WEB) else uri

    @property
    def _home(self) -> Path:
        """The folder that outlives the run."""
        return (self.project or self.root).resolve()

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password in the tracking URI of a server, or None where it has none."""
        if not self.tracking_uri.startswith(WEB):
            return None
        user, at, _ = urlsplit(self.tracking_uri).netloc.rpartition("@")
        name, _, password = user.partition(":")
        return (unquote(name), unquote(password)) if at else None

    @property
    def artifact_location(self) -> str | None:
        """Artifact location of a new experiment, or None to let the server decide."""
        if self.artifacts:
            return self.artifacts
        if self.store.startswith(WEB):
            return None
        return (self._home / ".mlflow" / "artifacts").as_uri()

    def run_address(self, run_id: str) -> str:
        """Where a browser sees an MLflow run, or "" for a store without a server."""
        return self._mlflow_page(f"runs/{run_id}") if run_id else ""

    def version_address(self, model: str, version: str) -> str:
        """Where a browser sees a version of a model, or "" for a store without a server."""
        return self._mlflow_page(f"models/{quote(model)}/versions/{version}")

    def _mlflow_page(self, page: str) -> str:
        base = fit_to_show(self.mlflow_url or self.store).rstrip("/")
        return f"{base}/#/{page}" if base.startswith(WEB) else ""


def load_settings(root: Path | None = None) -> Settings:
    """Reads the settings from the environment.

    Args:
        root: The root to use, whatever the environment says.

    Raises:
        ConfigError: Variables have faults; all of them are reported.
    """
    given: dict[str, object] = {
        name: os.environ[variable]
        for name in Settings.model_fields
        if (variable := _variable(name)) in os.environ
    }
    if root is not None:
        given["root"] = root
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        faults = [f"{_variable(str(e['loc'][0]))}: {e['msg']}" for e in error.errors()]
        raise ConfigError.of_faults("the environment", faults) from error
    return _inside_dvc(settings) if root is None else settings


def _variable(name: str) -> str:
    # MLflow reads the one variable too, and its name is MLflow's.
    return "MLFLOW_TRACKING_URI" if name == "tracking_uri" else f"HOUSING_{name.upper()}"


def _inside_dvc(settings: Settings) -> Settings:
    """The settings with DVC's root; the MLflow store stays where the environment has it.

    A store in the temporary copy of ``dvc exp run`` would be gone with the copy.
    """
    root = dvc_root()
    if root is None:
        return settings
    project = settings.model_copy(update={"root": Path(os.environ["DVC_ROOT"])})
    places = {"tracking_uri": project.store, "artifacts": project.artifact_location or ""}
    return settings.model_copy(update={"root": root, **places})

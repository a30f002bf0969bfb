"""The one way to MLflow: short timeouts, one kind of error when it is away."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from housing.errors import TrackingUnavailableError
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

RETRIES = 2
SQLITE = "sqlite:///"
TRANSIENT = frozenset({"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR"})
"""MLflow's names for "not now" and "I failed"; the last is also what its client says of a
connection that breaks while files are copied."""


def is_server(settings: Settings) -> bool:
    """Whether MLflow is reached over HTTP, not as a store on this machine."""
    return settings.store.startswith(("http://", "https://"))


@contextmanager
def connected(settings: Settings) -> Iterator[MlflowClient]:
    """Opens MLflow; inside, a silent or dying MLflow is one kind of error.

    MLflow waits two minutes for an answer and retries seven times unless told otherwise. Here a
    dead or hanging server is noticed within a minute; retrying later is the caller's part. A
    variable that the environment sets itself stays as it is.

    Args:
        settings: Where MLflow is.

    Raises:
        TrackingUnavailableError: MLflow does not answer.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, int(settings.mlflow_timeout))))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # What a command prints for a script is JSON and nothing else.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A logged model states what it needs; this project's lock file holds Airflow and more.
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
    _knock(settings)
    import mlflow
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    mlflow.set_tracking_uri(settings.store)
    mlflow.set_registry_uri(settings.store)
    try:
        yield mlflow.MlflowClient(settings.store, settings.store)
    except (requests.RequestException, OperationalError, sqlite3.OperationalError) as error:
        raise unavailable(settings, error) from error
    except MlflowException as error:
        if _is_transient(error):
            raise unavailable(settings, error) from error
        raise


def unavailable(settings: Settings, error: Exception) -> TrackingUnavailableError:
    """The error to raise when MLflow did not answer."""
    return TrackingUnavailableError(
        f"MLflow at {settings.store} gives no answer: {error}",
        "start it (make up), or correct MLFLOW_TRACKING_URI; then run the task again",
    )


def _knock(settings: Settings) -> None:
    """Makes the store's folder, or asks the server for a sign of life."""
    if settings.store.startswith(SQLITE):
        Path(settings.store.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    if not is_server(settings):
        return
    try:
        answer = httpx.get(
            f"{settings.store.rstrip('/')}/health",
            timeout=settings.mlflow_timeout,
            follow_redirects=True,
        )
    except httpx.HTTPError as error:
        raise unavailable(settings, error) from error
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise TrackingUnavailableError(
            f"MLflow at {settings.store} answers {answer.status_code}",
            "look into the server's log; then run the task again",
        )


def _is_transient(error: Exception) -> bool:
    """Whether MLflow's client gave up on the connection, or the server asks for patience."""
    import requests

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, requests.RequestException):
            return True
        cause = cause.__cause__ or cause.__context__
    return getattr(error, "error_code", None) in TRANSIENT

"""The one way to MLflow: short timeouts, one kind of error when it is away."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from housing.errors import LoginRefusedError, TrackingError, TrackingUnavailableError
from housing.mlops.tracking.request import get, in_time, set_login
from housing.mlops.tracking.sqlite import create_store
from housing.settings import WEB, Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

RETRIES = 2
TRANSIENT = frozenset({"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR"})
"""MLflow's names for "not now" and "I failed"; the last is also what its client says of a
connection that breaks while files are copied."""
REFUSED = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"})
"""MLflow's names for a login that is missing, wrong, or not enough."""
LOGIN_HINT = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, where "
    "this command runs, or write ~/.mlflow/credentials"
)
TRUST_HINT = (
    "export MLFLOW_TRACKING_SERVER_CERT_PATH=FILE, or REQUESTS_CA_BUNDLE=FILE: the certificate of "
    "the authority that signed the server's"
)
TRANSFER = 900.0
"""Seconds that one transfer of files may take."""


def is_server(settings: Settings) -> bool:
    """Whether MLflow is reached over HTTP, not as a store on this machine."""
    return settings.store.startswith(WEB)


@contextmanager
def connected(settings: Settings) -> Iterator[MlflowClient]:
    """Opens MLflow; inside, a silent or dying MLflow is one kind of error.

    MLflow waits two minutes for an answer and retries seven times unless told otherwise. Here a
    dead, hanging or trickling server is noticed within a minute; retrying later is the caller's
    part. A variable that the environment sets itself stays as it is.

    Args:
        settings: Where MLflow is.

    Raises:
        TrackingUnavailableError: MLflow does not answer.
        TrackingError: MLflow refuses: the login, its certificate, or the request; or the driver of
            a database is missing.
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
    set_login(settings)
    _knock(settings)
    import mlflow
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    mlflow.set_tracking_uri(settings.store)
    mlflow.set_registry_uri(settings.store)
    try:
        client = mlflow.MlflowClient(settings.store, settings.store)
    except ModuleNotFoundError as error:  # a database's driver
        raise TrackingError(
            f"{settings.store} needs the Python package {error.name}, which is not here",
            f"uv pip install {error.name}, or correct MLFLOW_TRACKING_URI",
        ) from error
    try:
        yield cast("MlflowClient", _InTime(client)) if is_server(settings) else client
    except (requests.RequestException, TimeoutError, OperationalError) as error:
        raise unavailable(settings, error) from error
    except sqlite3.OperationalError as error:
        raise unavailable(settings, error) from error
    except MlflowException as error:
        raise _explained(settings, error) from error


def unavailable(settings: Settings, error: Exception) -> TrackingError:
    """The error to raise when MLflow did not answer, or its certificate is not trusted."""
    if _is_untrusted(error):
        return TrackingError(f"{settings.store} is not trusted: {error}", TRUST_HINT)
    return TrackingUnavailableError(
        f"MLflow at {settings.store} gives no answer: {error}",
        f"start it ({settings.start}), or correct MLFLOW_TRACKING_URI; then run the task again",
    )


def refused(settings: Settings, message: str) -> LoginRefusedError:
    """The error to raise when MLflow refuses the login."""
    fact = f"MLflow at {settings.store} refuses the login: {message}"
    return LoginRefusedError(fact, LOGIN_HINT)


class _InTime:
    """MLflow's client, where every call ends in time, see `in_time`.

    Args:
        client: The client of a server.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        # Each try may take the timeout; one more pays for the pauses between them.
        tries = int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) + 2
        self._seconds = tries * float(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        copies = "artifact" in name or name == "log_dict"

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # of any method
            return in_time(partial(method, *args, **kwargs), TRANSFER if copies else self._seconds)

        return call


def _knock(settings: Settings) -> None:
    """Makes the store where it is missing, or asks the server for a sign of life."""
    create_store(settings.store, settings.artifact_location)
    if is_server(settings):
        knock(settings)


def knock(settings: Settings) -> None:
    """Asks a server for a sign of life.

    Args:
        settings: Where MLflow is.

    Raises:
        TrackingUnavailableError: It does not answer.
        TrackingError: Its certificate is not trusted.
    """
    try:
        answer = get(settings, "health")
    except OSError as error:  # of requests, or a time that ran out
        raise unavailable(settings, error) from error
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TrackingUnavailableError(
            f"MLflow at {settings.store} answers {answer.status_code}",
            "look into the server's log; then run the task again",
        )


def _explained(settings: Settings, error: Exception) -> TrackingError:
    """MLflow's own error in the terms of this package."""
    code = getattr(error, "error_code", None)
    if code in REFUSED:
        return refused(settings, str(error))
    if code in TRANSIENT or _is_cut_off(error):
        return unavailable(settings, error)
    return TrackingError(f"MLflow at {settings.store} refuses: {error}", "look at MLflow's log")


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_untrusted(error: Exception) -> bool:
    import requests

    return any(
        isinstance(cause, requests.exceptions.SSLError)
        # What requests says of a file of certificates that does not exist.
        or (type(cause) is OSError and "certificate" in str(cause))
        for cause in _chain(error)
    )


def _is_cut_off(error: Exception) -> bool:
    """Whether MLflow's client gave up on the connection."""
    import requests

    return any(isinstance(cause, requests.RequestException) for cause in _chain(error))

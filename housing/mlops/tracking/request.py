"""Single requests to an MLflow server, without MLflow's client: importing that takes two seconds.

The rules of login and trust are those of MLflow's client, which sends by the same library:
``mlflow.utils.credentials.get_default_host_creds`` and ``mlflow.utils.rest_utils.http_request``.
"""

from __future__ import annotations

import base64
import configparser
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from housing.settings import Settings

if TYPE_CHECKING:
    from requests import Response

CREDENTIALS = Path("~/.mlflow/credentials")
CLIENT_ONLY = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")
"""Variables that name a plugin of MLflow's client: only that client can log in."""

T = TypeVar("T")


def needs_client() -> bool:
    """Whether only MLflow's own client can log in."""
    return any(os.environ.get(name, "").lower() not in {"", "0", "false"} for name in CLIENT_ONLY)


def set_login(settings: Settings) -> None:
    """Hands the login of the tracking URI to MLflow's client, by the variables that it reads.

    Args:
        settings: Where MLflow is.
    """
    if settings.login:
        os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = (
            settings.login
        )


def get(settings: Settings, path: str, query: Mapping[str, str] | None = None) -> Response:
    """Asks an MLflow server, in `mlflow_timeout` seconds for the whole answer.

    Args:
        settings: Where MLflow is.
        path: Below the tracking URI.
        query: Of the address.

    Raises:
        requests.RequestException: The server cannot be reached, or is not trusted.
        TimeoutError: The answer is not whole in time.
    """
    import requests

    headers = _headers(settings)
    certificate = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None
    return in_time(
        lambda: requests.get(
            f"{settings.store}/{path}",
            params=query,
            headers=headers,
            verify=_trusted(),
            cert=certificate,
            timeout=settings.mlflow_timeout,
        ),
        settings.mlflow_timeout,
    )


def in_time(call: Callable[[], T], seconds: float) -> T:
    """Calls a function, and gives up on it after some time.

    A socket's timeout counts from byte to byte: a server that sends one now and then is waited for
    without end. The call is made in a thread of its own, which is left behind then.

    Args:
        call: What to do.
        seconds: How long it may take.

    Raises:
        TimeoutError: It took longer.
        BaseException: What the call raised.
    """
    values: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            values.append(call())
        except BaseException as error:  # noqa: BLE001  # raised again where it was called
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not values:
        raise TimeoutError(f"timed out: no whole answer within {seconds:g} s")
    return values[0]


def _headers(settings: Settings) -> dict[str, str]:
    name, password = settings.login or _credentials()
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if name and password:
        login = base64.standard_b64encode(f"{name}:{password}".encode()).decode()
        return {"Authorization": f"Basic {login}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _credentials() -> tuple[str | None, str | None]:
    """User and password from the environment, else from MLflow's file."""
    parser = configparser.ConfigParser()
    parser.read(CREDENTIALS.expanduser())
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    name, password = (
        os.environ.get(one.upper()) or parser.get("mlflow", one, fallback=None) for one in names
    )
    return name, password


def _trusted() -> str | bool:
    """A file of certificates to trust, or whether to ask for trust at all.

    With True, requests reads ``REQUESTS_CA_BUNDLE`` itself.
    """
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in {"true", "1"}
    return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or not insecure

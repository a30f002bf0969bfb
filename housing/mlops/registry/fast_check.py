"""A fast look: does the alias already hold this very result?

Importing MLflow's client takes two seconds, so a server is asked by two plain requests.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import httpx

from housing.domain.config import Params
from housing.domain.gate import Verdict
from housing.errors import TrackingError
from housing.mlops.registry.client import (
    ABSENT,
    LIMITS,
    SETTLED,
    WITHDRAWN,
    alias_version,
    is_whole,
    limits_digest,
    moved_aliases,
)
from housing.mlops.tracking.connection import connected, is_server, unavailable
from housing.mlops.tracking.result import Result
from housing.mlops.tracking.tracked_run import RESULT
from housing.settings import Settings

API = "api/2.0/mlflow"


@dataclass(frozen=True, slots=True)
class Seen:
    """The part of an alias' version and of its run that tells whether it is this result."""

    version: str
    run_id: str
    tags: dict[str, str]
    lifecycle: str
    run_tags: dict[str, str]


def settled(settings: Settings, params: Params, result: Result) -> Verdict | None:
    """Says that nothing is left to do, or None where there is.

    Args:
        settings: Where MLflow is.
        params: Names the model, the aliases and the limits.
        result: The result in the workspace.

    Raises:
        TrackingUnavailableError: MLflow does not answer.
    """
    look = _over_http if is_server(settings) else _in_store
    wanted = {RESULT: result.fingerprint, LIMITS: limits_digest(params), SETTLED: "true"}
    held: list[Seen] = []
    for alias in moved_aliases(params):
        seen = look(settings, params.registry.model, alias)
        if seen is None or WITHDRAWN in seen.tags or not wanted.items() <= seen.tags.items():
            return None
        if not is_whole(seen.lifecycle, seen.run_tags):
            return None
        held.append(seen)
    return Verdict(
        result=result.fingerprint,
        run_id=held[0].run_id,
        passed=True,
        unchanged=True,
        alias=params.registry.staging,
        against=held[0].version,
        contest="same",
        limits=wanted[LIMITS],
    )


def _in_store(settings: Settings, model: str, alias: str) -> Seen | None:
    with connected(settings) as client:
        version = alias_version(client, model, alias)
        if version is None:
            return None
        run = client.get_run(version.run_id or "")
        return Seen(
            str(version.version),
            run.info.run_id,
            version.tags,
            run.info.lifecycle_stage,
            run.data.tags,
        )


def _over_http(settings: Settings, model: str, alias: str) -> Seen | None:
    found = _get(settings, "registered-models/alias", {"name": model, "alias": alias})
    if found is None:
        return None
    version = found["model_version"]
    answer = _get(settings, "runs/get", {"run_id": version["run_id"]})
    if answer is None:
        return None
    run = answer["run"]
    return Seen(
        version["version"],
        version["run_id"],
        _tags(version),
        run["info"]["lifecycle_stage"],
        _tags(run["data"]),
    )


def _get(settings: Settings, path: str, query: dict[str, str]) -> dict[str, Any] | None:
    try:
        answer = httpx.get(
            f"{settings.store.rstrip('/')}/{API}/{path}",
            params=query,
            auth=_login(),
            timeout=settings.mlflow_timeout,
        )
        content: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise unavailable(settings, error) from error
    if answer.is_success:
        return content
    if answer.is_server_error:
        raise unavailable(settings, httpx.HTTPError(f"it answers {answer.status_code}"))
    if content.get("error_code") in ABSENT:
        return None
    raise TrackingError(
        f"MLflow at {settings.store} refuses: {content.get('message')}",
        "look at MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    )


def _login() -> tuple[str, str] | None:
    """The login that MLflow's own client reads from the environment."""
    name = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return (name, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if name else None


def _tags(holder: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in holder.get("tags", [])}

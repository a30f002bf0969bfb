"""A fast look: does the alias already hold this very result?

Importing MLflow's client takes two seconds, so a server is asked by two plain requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from housing.domain.config import Params
from housing.domain.verdict import Verdict
from housing.errors import LoginRefusedError, TrackingError, TrackingUnavailableError
from housing.mlops.registry.client import (
    ABSENT,
    LIMITS,
    SETTLED,
    WITHDRAWN,
    alias_version,
    find_run,
    is_whole,
    limits_digest,
    moved_aliases,
)
from housing.mlops.tracking.connection import connected, is_server, refused, unavailable
from housing.mlops.tracking.digest import BUNDLE
from housing.mlops.tracking.request import get, needs_client
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
        TrackingError: MLflow refuses the login, or is not trusted.
    """
    look = _over_http if is_server(settings) and not needs_client() else _by_client
    wanted = {RESULT: result.fingerprint, LIMITS: limits_digest(params), SETTLED: "true"}
    held: list[Seen] = []
    for alias in moved_aliases(params):
        seen = look(settings, params.registry.model, alias)
        if seen is None or WITHDRAWN in seen.tags or not wanted.items() <= seen.tags.items():
            return None
        if not is_whole(seen.lifecycle, seen.run_tags):
            return None
        digest = seen.run_tags.get(BUNDLE)
        if digest is None or seen.tags.get(BUNDLE) != digest:
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


def _by_client(settings: Settings, model: str, alias: str) -> Seen | None:
    with connected(settings) as client:
        version = alias_version(client, model, alias)
        if version is None:
            return None
        run = find_run(client, version.run_id or "")
        if run is None:
            return None
        return Seen(
            str(version.version),
            run.info.run_id,
            version.tags,
            run.info.lifecycle_stage,
            run.data.tags,
        )


def _over_http(settings: Settings, model: str, alias: str) -> Seen | None:
    try:
        found = _get(settings, "registered-models/alias", {"name": model, "alias": alias})
    except LoginRefusedError:
        # Where users are no admins, MLflow forbids to look at a model that is not there.
        found = _get(settings, "registered-models/get", {"name": model})
        if found is not None:
            raise
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
        answer = get(settings, f"{API}/{path}", query)
    except OSError as error:  # of requests, or a time that ran out
        raise unavailable(settings, error) from error
    if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise refused(settings, f"{answer.status_code} {answer.reason}")
    try:
        content: dict[str, Any] = answer.json()
    except ValueError as error:
        raise TrackingUnavailableError(
            f"{settings.store} answers {answer.status_code}, but not as MLflow does",
            "correct MLFLOW_TRACKING_URI, or look into the server's log",
        ) from error
    if answer.ok:
        return content
    if content.get("error_code") in ABSENT:
        return None
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TrackingUnavailableError(
            f"MLflow at {settings.store} answers {answer.status_code}",
            "look into the server's log; then run the task again",
        )
    raise TrackingError(
        f"MLflow at {settings.store} refuses: {content.get('message')}", "look at MLflow's log"
    )


def _tags(holder: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in holder.get("tags", [])}

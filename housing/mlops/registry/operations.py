"""Moves of an alias that a person decides: who serves production, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from housing.domain.config import Registered
from housing.errors import RegistryError
from housing.mlops.registry.alias_move import Promotion, move
from housing.mlops.registry.client import (
    DECLINED,
    WITHDRAWN,
    alias_version,
    get_version,
    number_of,
    tagged_hashes,
    withdrawn_versions,
)
from housing.mlops.registry.journal import Entry, Kind, entries, journal_id, previous
from housing.mlops.registry.proof import prove
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.digest import BUNDLE
from housing.mlops.tracking.tracked_run import DATA_TIME, RESULT
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def assign(  # noqa: PLR0913, PLR0917 - each is one word of the journal's entry
    settings: Settings, params: Registered, alias: str, version: str, who: str, why: str
) -> Promotion:
    """Points an alias to a version because a person says so, and writes the journal.

    A version that was withdrawn by a rollback, or declined, is allowed again.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.
        alias: The alias to move.
        version: The version to move it to.
        who: Who decided.
        why: The reason.

    Raises:
        EvidenceError: The version is not what was judged: a file of its model differs.
        RegistryError: There is no such version, or it is none of this project.
        RunNotFoundError: The run of the version was deleted.
        TrackingUnavailableError: MLflow does not answer; the same call later finishes the work.
    """
    with connected(settings) as client:
        model = params.registry.model
        chosen = get_version(client, model, version)
        _require_known(client, chosen)
        for withdrawn in withdrawn_versions(client, model, tagged_hashes(chosen.tags)):
            client.delete_model_version_tag(model, str(withdrawn.version), WITHDRAWN)
        if DECLINED in chosen.tags:
            client.delete_model_version_tag(model, version, DECLINED)
        holder = alias_version(client, model, alias)
        return move(client, settings, _entry("assign", alias, holder, chosen, who, why))


def set_champion(
    settings: Settings, params: Registered, version: str, who: str, why: str
) -> Promotion:
    """Makes a version the champion: `assign` for the alias of production."""
    return assign(settings, params, params.registry.champion, version, who, why)


def rollback(settings: Settings, params: Registered, alias: str, who: str, why: str) -> Promotion:
    """Puts an alias back to the version before, and keeps the gate from undoing that.

    The version that is taken back is marked as withdrawn, so that no later run promotes the same
    model again, under whatever limits; `assign` lifts the mark.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.
        alias: The alias to move.
        who: Who decided.
        why: The reason.

    Raises:
        EvidenceError: The version before is not what was judged: a file of its model differs.
        RegistryError: The alias points to nothing, or there was no version before.
        RunNotFoundError: The run of the version before was deleted.
        TrackingUnavailableError: MLflow does not answer; the same call later finishes the work.
    """
    with connected(settings) as client:
        model = params.registry.model
        holder = alias_version(client, model, alias)
        if holder is None:
            raise RegistryError(f"{alias} points to no version of {model}", "housing run")
        history = entries(client, journal_id(client, settings), model, alias)
        last = history[-1] if history else None
        if last and (last.kind, last.state, last.who, last.why) == ("rollback", "open", who, why):
            target: str | None = last.to_version  # this very one was cut off
        else:
            target = previous(history, str(holder.version))
        if target is None:
            raise RegistryError(
                f"{alias} held no version before {holder.version}",
                "housing champion VERSION sets another one",
            )
        chosen = get_version(client, model, target)
        _require_known(client, chosen)
        if str(holder.version) != target:
            # First, so that no run can promote it again between the two calls.
            client.set_model_version_tag(
                model, str(holder.version), WITHDRAWN, f"rolled back by {who}: {why}"
            )
        return move(client, settings, _entry("rollback", alias, holder, chosen, who, why))


def _require_known(client: MlflowClient, version: ModelVersion) -> None:
    if RESULT not in version.tags:
        raise RegistryError(
            f"version {version.version} was not registered by this project",
            "choose a version that the gate has passed",
        )
    prove(client, version)


def _entry(  # noqa: PLR0913, PLR0917 - each is one word of the journal's entry
    kind: Kind,
    alias: str,
    holder: ModelVersion | None,
    chosen: ModelVersion,
    who: str,
    why: str,
) -> Entry:
    return Entry(
        model=chosen.name,
        alias=alias,
        kind=kind,
        from_version=number_of(holder),
        to_version=str(chosen.version),
        who=who,
        why=why,
        data_time=int(chosen.tags[DATA_TIME]),
        evidence={
            "result": chosen.tags[RESULT],
            "run_id": chosen.run_id or "",
            "bundle": chosen.tags[BUNDLE],
        },
    )

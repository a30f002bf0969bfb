"""The models in the aliases, proved before a challenger is compared with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from housing.domain import gate
from housing.domain.config import Params
from housing.domain.verdict import Check
from housing.engine.errors import typeable
from housing.errors import EvidenceError, RunNotFoundError
from housing.mlops.registry.proof import run_behind
from housing.mlops.registry.run_artifacts import Record, download
from housing.mlops.tracking.tracked_run import RESULT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def proved_rival(
    client: MlflowClient, params: Params, record: Record, alias: str, version: ModelVersion
) -> Record | Check:
    """The model in an alias, where its bytes are the ones that were evaluated.

    Args:
        client: An open MLflow.
        params: The names in the registry.
        record: The challenger.
        alias: The alias.
        version: The version in it.

    Returns:
        Its record, downloaded below the challenger's. Else the check that tells of the fault, or
        that the version is the challenger itself, whose run is gone.
    """
    known = f"rival_known{suffix_of(params, alias)}"
    try:
        run = run_behind(client, version)
    except RunNotFoundError as error:
        return _unknown(params, record, alias, version, known, error)
    except EvidenceError as error:
        fault = f"version {version.version} in {alias} cannot be trusted: {error.fact}"
        return gate.fact(known, fault, "")
    folder = record.folder / alias
    folder.mkdir()
    rival = download(run, folder)
    evidence = rival.bytes_check(rival.tagged_hashes())
    if not evidence.passed:
        fault = f"version {version.version} in {alias} cannot be trusted: {evidence.sentence}"
        return gate.fact(known, fault, "")
    return rival


def suffix_of(params: Params, alias: str) -> str:
    """What tells the checks against the other aliases from those against staging."""
    return "" if alias == params.registry.staging else f"_{alias}"


def _unknown(  # noqa: PLR0913, PLR0917 - one branch of `proved_rival`, with what that knows
    params: Params,
    record: Record,
    alias: str,
    version: ModelVersion,
    known: str,
    error: RunNotFoundError,
) -> Check:
    """What can be said where the run of the model in an alias is deleted, or gone for ever."""
    if version.tags.get(RESULT) == record.tags.get(RESULT):
        # Its version says so, and the record is that result, logged again.
        right = f"version {version.version} in {alias} is this very result; its run is gone"
        return gate.fact(known, None, right)
    fault = (
        f"version {version.version} in {alias} cannot be compared: {error.fact}; next: "
        f"{_way_on(params, alias, version, error)}"
    )
    return gate.fact(known, fault, "")


def _way_on(params: Params, alias: str, version: ModelVersion, error: RunNotFoundError) -> str:
    """What to type where the run of the model in an alias is missing."""
    import mlflow

    if not error.gone:
        return error.hint
    model = params.registry.model
    call = f"delete_registered_model_alias('{model}', '{alias}')"
    script = f"from mlflow import MlflowClient as C; C('{mlflow.get_tracking_uri()}').{call}"
    return typeable(
        f"housing rollback --alias {alias} --why 'run of version {version.version} is gone', which "
        "puts the version before back; or, where there is none, this takes the alias away, and the "
        f'next run is judged as the first: python -c "{script}"'
    )

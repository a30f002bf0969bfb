"""How far a run with overrides may get: into staging, by the limits of the repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from housing.domain.config import Params
from housing.domain.overrides import never_promoted
from housing.errors import RegistryError
from housing.mlops.tracking.tracked_run import OVERRIDES
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Run


def overrides_of(settings: Settings, run: Run) -> tuple[str, ...]:
    """The overrides with which a result was made: those of this process, or of its MLflow run."""
    return settings.overrides or tuple(run.data.tags.get(OVERRIDES, "").splitlines())


def within_reach(params: Params, overrides: Sequence[str]) -> Params:
    """The params with the aliases that a result made with overrides may move: never champion."""
    if not overrides:
        return params
    names = params.registry.model_copy(update={"auto_champion": False})
    return params.model_copy(update={"registry": names})


def require_promotable(result: str, overrides: Sequence[str]) -> None:
    """Refuses a result whose evidence was made by other rules than the repository's.

    Args:
        result: Fingerprint of the result.
        overrides: The overrides with which it was made.

    Raises:
        RegistryError: An override changes which rows are tested, or what the report claims.
    """
    never = never_promoted(overrides)
    if never:
        raise RegistryError(
            f"result {result} is not promoted: {never}",
            "commit them to params.yaml, then start a run without overrides",
        )

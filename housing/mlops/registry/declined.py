"""A person's no to a version that the gate let pass."""

from __future__ import annotations

from housing.domain.config import Registered
from housing.mlops.registry.client import DECLINED, tag_version
from housing.mlops.tracking.connection import connected
from housing.settings import Settings


def decline(settings: Settings, params: Registered, version: str, who: str, why: str) -> None:
    """Notes at a version that a person did not want it as champion; no alias moves.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.
        version: The version.
        who: Who decided.
        why: The reason.

    Raises:
        TrackingUnavailableError: MLflow does not answer.
    """
    with connected(settings) as client:
        tag_version(client, params.registry.model, version, DECLINED, f"declined by {who}: {why}")

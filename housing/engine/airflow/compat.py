"""The differences between Airflow 3.1, 3.2 and 3.3 that the engine meets, and nothing else.

Everything that has another place or another meaning in one of these versions is imported from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow import __version__

try:
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
        DownstreamTasksSkipped,
    )
except ImportError:  # 3.1
    from airflow.exceptions import (  # type: ignore[no-redef,attr-defined]
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
        DownstreamTasksSkipped,
    )

try:
    from airflow.sdk.configuration import conf
except ImportError:  # 3.1
    from airflow.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors
    from airflow.triggers.base import BaseEventTrigger

__all__ = [
    "AIRFLOW",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSkipException",
    "DownstreamTasksSkipped",
    "asset_state_store",
    "conf",
    "has_listeners",
    "retry_exponential_backoff",
]

AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])
"""Major and minor version of the Airflow that is installed."""

_FACTORS = (3, 2)
"""Since this version an operator takes the factor by which the delay grows, before only whether."""


def retry_exponential_backoff(factor: float) -> float | bool:
    """The argument ``retry_exponential_backoff`` of an operator.

    Args:
        factor: Factor by which the delay grows with each try; 0 for none. Airflow 3.1 knows 2 only.
    """
    return factor if AIRFLOW >= _FACTORS else bool(factor)


def asset_state_store(trigger: BaseEventTrigger) -> AssetStateStoreAccessors | None:
    """What Airflow keeps for a trigger from one start of the triggerer to the next.

    Args:
        trigger: The trigger that asks.

    Returns:
        The store, or None where Airflow has none: before 3.3, or outside the triggerer.
    """
    return getattr(trigger, "asset_state_store", None)


def has_listeners() -> bool:
    """Whether a plugin is told of each task that runs here, as that of OpenLineage is."""
    try:
        from airflow.sdk.listener import get_listener_manager
    except ImportError:  # 3.1
        from airflow.listeners.listener import get_listener_manager  # type: ignore[assignment]
    return bool(get_listener_manager().has_listeners)

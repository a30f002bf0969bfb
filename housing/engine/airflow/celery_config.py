"""Celery's settings for workers whose tasks are stages: each task forks from a warm process.

The workers' ``AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS`` names `CELERY_CONFIG`, as docs/workers.md
shows. It needs Airflow's provider for Celery.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG

_MODULES = (
    "airflow.dag_processing.dagbag",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "housing.engine.airflow.task_group",
    "housing.engine.execution.stage_run",
    "jsonschema",
    # Where they are installed: the bundle's, and those of DVC's remotes.
    "airflow.providers.git.bundles.git",
    "adlfs",
    "gcsfs",
    "s3fs",
)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package that it would be in
        return False


CELERY_CONFIG: dict[str, Any] = {
    **DEFAULT_CELERY_CONFIG,
    "imports": tuple(module for module in _MODULES if _is_installed(module)),
}
"""Airflow's own settings, and what Celery imports once, before it forks: seconds for each task."""

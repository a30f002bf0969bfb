"""Celery's settings for workers whose tasks are stages: each task forks from a warm process.

The workers' ``AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS`` names `CELERY_CONFIG`, as docs/workers.md
shows. It needs Airflow's provider for Celery.
"""

from __future__ import annotations

import importlib
import logging

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery.signals import import_modules

_log = logging.getLogger(__name__)

_MODULES = (
    "airflow.dag_processing.dagbag",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "housing.engine.airflow.task_group",
    "housing.engine.execution.stage_run",
    "jsonschema",
    "networkx",
    # Where they are installed: the bundle's, and those of DVC's remotes.
    "airflow.providers.git.bundles.git",
    "adlfs",
    "gcsfs",
    "s3fs",
)

CELERY_CONFIG = DEFAULT_CELERY_CONFIG
"""Airflow's own settings: a worker that reads them here hears of `import_for_tasks`, too."""


def import_for_tasks(**_: object) -> None:
    """Imports once, before the worker forks, what each task of a stage needs: seconds of each."""
    for module in _MODULES:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            _log.debug("not imported before the worker forks: %s", error)
        except Exception as error:  # noqa: BLE001 - a task that needs the module says what is wrong
            _log.warning("%s cannot be imported: %s", module, error)


import_modules.connect(import_for_tasks)

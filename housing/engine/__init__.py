"""Everything between ``dvc.yaml`` and Airflow: any DVC repository as a DAG, one task a stage.

It knows nothing of houses or MLflow, and imports nothing else of this package. The names are loaded
when they are asked for: a stage's script that only notes its links imports no Airflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from housing.engine.airflow.assets import asset_of, folder_asset
    from housing.engine.airflow.operator import DvcStageOperator
    from housing.engine.airflow.schedule import upstream_assets
    from housing.engine.airflow.task_group import DvcDag, DvcTaskGroup
    from housing.engine.airflow.write_back import WriteBackOperator
    from housing.engine.errors import EngineError, GraphError, OptionsError
    from housing.engine.graph import Graph, StageNode
    from housing.engine.stage_notes import note_links

__all__ = [
    "DvcDag",
    "DvcStageOperator",
    "DvcTaskGroup",
    "EngineError",
    "Graph",
    "GraphError",
    "OptionsError",
    "StageNode",
    "WriteBackOperator",
    "asset_of",
    "folder_asset",
    "note_links",
    "upstream_assets",
]

_HOMES = {
    "DvcDag": "airflow.task_group",
    "DvcStageOperator": "airflow.operator",
    "DvcTaskGroup": "airflow.task_group",
    "EngineError": "errors",
    "Graph": "graph",
    "GraphError": "errors",
    "OptionsError": "errors",
    "StageNode": "graph",
    "WriteBackOperator": "airflow.write_back",
    "asset_of": "airflow.assets",
    "folder_asset": "airflow.assets",
    "note_links": "stage_notes",
    "upstream_assets": "airflow.schedule",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

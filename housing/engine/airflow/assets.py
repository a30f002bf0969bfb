"""The one place that names Airflow's assets: the outs of stages, and folders of files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from airflow.sdk import Asset, AssetWatcher

from housing.engine.airflow.folder_trigger import FolderTrigger


def asset_of(project: str, path: str) -> Asset:
    """The asset of an out: another DAG can be scheduled on it.

    Airflow takes a scheme that starts with ``x-`` as it is; for any other one it loads all its
    providers to look for a handler.

    Args:
        project: First part of the name, without a slash.
        path: The out, relative to DVC's root.
    """
    return Asset(name=f"{project}/{path}", uri=f"x-dvc://{quote(project)}/{quote(path)}")


def path_of(asset: Asset) -> str:
    """The out of an asset, relative to DVC's root: the inverse of `asset_of`."""
    return asset.name.partition("/")[2]


def folder_asset(project: str, root: Path, folder: Path) -> Asset:
    """The files of a folder: an event tells that some came, changed or went.

    Args:
        project: First part of the name, without a slash.
        root: The project's folder.
        folder: The folder, relative to the root.
    """
    watcher = AssetWatcher(
        name=f"{project}/{folder}", trigger=FolderTrigger(str((root / folder).resolve()))
    )
    return Asset(
        name=f"{project}/{folder}",
        uri=f"x-folder://{quote(project)}/{quote(str(folder))}",
        watchers=[watcher],
    )

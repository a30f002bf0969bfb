"""The assets of registry aliases: an event tells that an alias points to another version."""

from __future__ import annotations

from urllib.parse import quote

from airflow.sdk import Asset


def alias_asset(project: str, model: str, alias: str) -> Asset:
    """The version that an alias points to: an event tells that it is another one.

    Args:
        project: First part of the name, without a slash.
        model: Name of the registered model.
        alias: The alias.
    """
    uri = f"x-mlflow://{quote(project)}/{quote(model)}/{quote(alias)}"
    return Asset(name=f"{project}/{model}@{alias}", uri=uri)

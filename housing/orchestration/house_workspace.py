"""The workspace of a run of the house-price pipeline: overrides by its own rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from housing.domain.overrides import override
from housing.engine.airflow.workspace import Workspace
from housing.engine.files import write_whole


def apply_overrides(root: Path, overrides: Sequence[str]) -> None:
    """Replaces parameters in a workspace's ``params.yaml``, where the rules of houses allow it.

    Args:
        root: The workspace.
        overrides: ``path=value`` pairs.

    Raises:
        ConfigError: See `housing.domain.overrides.override`.
    """
    params = root / "params.yaml"
    write_whole(params, override(params.read_text("utf-8"), overrides))


def workspace_of(root: str, run: tuple[str, str], overrides: Sequence[str]) -> Workspace:
    """The workspace of a run.

    Args:
        root: The project's folder.
        run: The DAG and its run, by Airflow's ids.
        overrides: The run's overrides, or none.
    """
    return Workspace.of(Path(root), run, overrides, apply_overrides)

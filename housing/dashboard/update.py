"""Makes the page, puts it in its place, and keeps it in MLflow."""

from __future__ import annotations

import tempfile
from pathlib import Path

from housing.dashboard import page_file
from housing.dashboard.data import collect
from housing.dashboard.files import RunFiles
from housing.dashboard.history import record_runs
from housing.dashboard.page import render
from housing.dashboard.results import newest_runs
from housing.domain.config import Params
from housing.engine.files import write_whole
from housing.mlops.tracking.connection import connected
from housing.settings import Settings

CACHE = Path(".housing/cache")
"""Folder, below the project, of what is made once for each version of a library."""

ARTIFACTS = "dashboard"
"""Folder of the page among the artifacts of the newest result's run."""


LOOKED_AT = 5
"""Results, newest first, among which the newest page is looked for."""


def kept(settings: Settings) -> str | None:
    """The page that MLflow holds, where no folder of this machine has it.

    Args:
        settings: Where MLflow is.

    Returns:
        The page that was made last, or None where there is none.

    Raises:
        TrackingError: MLflow does not answer, or its experiment was deleted.
    """
    with connected(settings) as client, tempfile.TemporaryDirectory(prefix="housing-") as folder:
        files, name = RunFiles(Path(folder)), page_file(settings.root).name
        # A run that goes on has put its result there, and no page yet.
        found = (
            files.text(run.info.run_id, f"{ARTIFACTS}/{name}")
            for run in newest_runs(client, settings, LOOKED_AT)
        )
        return next(filter(None, found), None)


def update(settings: Settings, params: Params) -> Path:
    """Makes the page anew from what MLflow holds.

    Runs of the DAG that left a summary in the project's folder are put into MLflow first. A reader
    sees the old page or the new one, never a part of one.

    Args:
        settings: Where MLflow and the project's folder are.
        params: Names the model and its aliases, and the gate's limits.

    Returns:
        The page. It is also an artifact of the newest result's run, where there is a result.

    Raises:
        TrackingUnavailableError: MLflow does not answer.
        TrackingError: An experiment was deleted.
    """
    path = page_file(settings.root)
    with connected(settings) as client:
        record_runs(client, settings)
        data = collect(client, settings, params)
        write_whole(path, render(data, settings.root / CACHE))
        if data.newest is not None:
            client.log_artifact(data.newest.run_id, str(path), ARTIFACTS)
    return path

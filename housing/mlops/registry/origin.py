"""Where a version came from: the commit, the parameters and the ``dvc.lock`` of its result."""

from __future__ import annotations

import tempfile
from pathlib import Path

from housing.domain.columns import Frozen
from housing.domain.config import Registered
from housing.errors import EvidenceError
from housing.mlops.registry.client import get_version
from housing.mlops.registry.proof import fetch, run_behind
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.tracked_run import REVISION
from housing.settings import Settings

PARAMS, LOCK = "params.yaml", "dvc.lock"


class Origin(Frozen):
    """Where a version came from.

    Attributes:
        version: Its number.
        run_id: Its MLflow run.
        git_revision: The commit of the code, with ``+`` at its end where tracked files differed.
        params: Content of ``params.yaml``, with the overrides of its run in it.
        lock: Content of ``dvc.lock``.
    """

    version: str
    run_id: str
    git_revision: str
    params: str
    lock: str


def origin_of(settings: Settings, params: Registered, version: str) -> Origin:
    """Reads where a version came from, as its run holds it.

    Args:
        settings: Where MLflow is.
        params: Names the registered model.
        version: The version.

    Raises:
        EvidenceError: The run names no commit, or its files are gone.
        RegistryError: There is no such version.
        RunNotFoundError: The run of the version was deleted.
        TrackingUnavailableError: MLflow does not answer.
    """
    with connected(settings) as client, tempfile.TemporaryDirectory(prefix="housing-") as folder:
        run = run_behind(client, get_version(client, params.registry.model, version))
        run_id = str(run.info.run_id)
        for name in (PARAMS, LOCK):
            fetch(f"runs:/{run_id}/{name}", Path(folder))
        files = {name: Path(folder) / name for name in (PARAMS, LOCK)}
        missing = [name for name, file in files.items() if not file.is_file()]
        revision = str(run.data.tags.get(REVISION, ""))
        if missing or not revision:
            lost = ", ".join([*missing, *([] if revision else ["the commit"])])
            raise EvidenceError(
                f"run {run_id} of version {version} does not hold {lost}",
                "put the artifacts of MLflow back from a backup; a result that was made outside "
                "git has no commit",
            )
        texts = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    return Origin(
        version=version,
        run_id=run_id,
        git_revision=revision,
        params=texts[PARAMS],
        lock=texts[LOCK],
    )

"""Reads the files that MLflow keeps of a run; one that is missing or broken is None."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_log = logging.getLogger(__name__)

ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""What MLflow answers for a file that a run does not have."""


@dataclass(frozen=True)
class RunFiles:
    """Files of MLflow's runs.

    Attributes:
        folder: Where downloads go: an empty folder.
    """

    folder: Path

    def json(self, run_id: str, path: str) -> Any:  # noqa: ANN401  # JSON
        """The content of a JSON file, or None; a broken one is named in the log."""
        file = self._fetch(run_id, path)
        if file is None:
            return None
        try:
            return json.loads(file.read_bytes())
        except ValueError as error:
            _log.warning("%s of MLflow run %s is broken and left out: %s", path, run_id, error)
            return None

    def text(self, run_id: str, path: str) -> str | None:
        """The content of a text file, or None."""
        file = self._fetch(run_id, path)
        return file.read_text(encoding="utf-8", errors="replace") if file else None

    def table(self, run_id: str, path: str) -> pl.DataFrame | None:
        """The content of a Parquet file, or None."""
        import polars as pl

        file = self._fetch(run_id, path)
        return pl.read_parquet(file) if file else None

    def _fetch(self, run_id: str, path: str) -> Path | None:
        import mlflow.artifacts
        from mlflow.exceptions import MlflowException

        target = self.folder / run_id / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"runs:/{run_id}/{path}", dst_path=str(target.parent)
            )
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
        return target if target.is_file() else None

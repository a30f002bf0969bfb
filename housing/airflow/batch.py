"""The tasks of batch scoring: which files wait for prices, and the prices of one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context

from housing.airflow.failures import explained
from housing.airflow.skips import skipped
from housing.config import load_params
from housing.errors import RegistryError
from housing.settings import load_settings


class FindFilesOperator(BaseOperator):
    """Finds the files that the model in an alias has not priced yet.

    Args:
        root: The project's folder.
        alias: The alias.
    """

    template_fields: Sequence[str] = ("root", "alias")
    ui_color = "#e4e4f4"

    def __init__(self, *, root: str, alias: str, **kwargs: Any) -> None:  # noqa: ANN401  # BaseOperator's own
        super().__init__(**kwargs)
        self.root = root
        self.alias = alias

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Looks into the folder of files that wait.

        Returns:
            Path and version for each file, to be mapped over.

        Raises:
            AirflowSkipException: No file waits, or no model is there to price one.
            TrackingUnavailableError: MLflow does not answer.
        """
        from housing import batch  # polars and mlflow are too heavy for a DAG file

        settings = load_settings(Path(self.root))
        params = load_params(settings.root / "params.yaml")
        with explained(context):
            try:
                version, files = batch.waiting(settings, params, self.alias)
            except RegistryError as error:
                # Files wait for the first champion: its event starts this DAG again.
                raise skipped(str(error)) from error
        if not files:
            raise skipped(f"version {version} has priced every file")
        return [{"file": str(file), "version": version} for file in files]


class ScoreFileOperator(BaseOperator):
    """Prices one file, see `housing.batch.predict`.

    Args:
        root: The project's folder.
        file: The file.
        version: The version that prices it.
    """

    template_fields: Sequence[str] = ("root", "file", "version")
    ui_color = "#d7f0ec"

    def __init__(
        self,
        *,
        root: str,
        file: str,
        version: str,
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.file = file
        self.version = version

    def execute(self, context: Context) -> dict[str, Any]:
        """Prices the file.

        Returns:
            What became of its rows, without the description of its columns.

        Raises:
            DataError: The file does not fit, or cannot be read to its end.
            TrackingError: MLflow does not answer, or no longer has the model.
        """
        from housing import batch  # polars and mlflow are too heavy for a DAG file

        settings = load_settings(Path(self.root))
        with explained(context):
            params = load_params(settings.root / "params.yaml")
            scores = batch.predict(settings, params, Path(self.file), self.version)
        rate = scores.rows / max(scores.seconds, 0.001)
        self.log.info(
            "%s: %s rows, %s priced by version %s, %s in quarantine %s, %.0f rows/s",
            scores.file,
            f"{scores.rows:,}",
            f"{scores.scored:,}",
            scores.version,
            f"{scores.quarantined:,}",
            scores.reasons or "",
            rate,
        )
        return scores.model_dump(mode="json", exclude={"columns"})

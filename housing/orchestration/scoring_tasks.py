"""The tasks of batch scoring: which files wait for prices, and the prices of one file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.configuration import conf

from housing.domain.config import load_params, load_registered
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.fast_skip import skipped
from housing.errors import DataError, RegistryError
from housing.settings import load_settings

if TYPE_CHECKING:
    from housing.domain.scoring import Scores


class FindFilesOperator(BaseOperator):
    """Finds the files that the model in an alias has not priced yet.

    Args:
        root: The project's folder.
        alias: The alias.
    """

    ui_color = "#e4e4f4"

    def __init__(self, *, root: str, alias: str, **kwargs: Any) -> None:  # noqa: ANN401  # BaseOperator's own
        super().__init__(**kwargs)
        self.root = root
        self.alias = alias

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Looks into the folder of files that wait.

        Returns:
            Files and version for each task, to be mapped over: one file a task, or as few as it
            takes where Airflow maps no further (``core.max_map_length``).

        Raises:
            AirflowSkipException: No file waits, or no model is there to price one.
            TrackingUnavailableError: MLflow does not answer.
        """
        from housing.mlops import batch_scoring  # polars and mlflow are too heavy for a DAG file

        settings = load_settings(Path(self.root))
        with explained(context):
            params = load_registered(settings.root / "params.yaml")
            try:
                version, files = batch_scoring.waiting(settings, params, self.alias)
            except RegistryError as error:
                # Files wait for the first champion: its event starts this DAG again.
                raise skipped(str(error)) from error
        if not files:
            raise skipped(f"version {version} has priced every file")
        each = math.ceil(len(files) / conf.getint("core", "max_map_length"))
        self.log.info("%s files wait, %s a task", f"{len(files):,}", each)
        paths = [str(file) for file in files]
        return [
            {"files": paths[start : start + each], "version": version}
            for start in range(0, len(paths), each)
        ]


class ScoreFileOperator(BaseOperator):
    """Prices a file, or a few one after the other, see `housing.mlops.batch_scoring.predict`.

    Args:
        root: The project's folder.
        files: The files.
        version: The version that prices them.
    """

    ui_color = "#d7f0ec"

    def __init__(
        self,
        *,
        root: str,
        files: Sequence[str],
        version: str,
        **kwargs: Any,  # noqa: ANN401  # BaseOperator's own arguments
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.files = files
        self.version = version

    @property
    def file(self) -> str:
        """What the DAG calls this task: its file, or the first one and how many follow."""
        more = len(self.files) - 1
        return f"{self.files[0]} and {more} more" if more else self.files[0]

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Prices the files; one that cannot be priced does not keep back those after it.

        Returns:
            What became of the rows of each, without the description of its columns.

        Raises:
            DataError: A file does not fit, or cannot be read to its end.
            TrackingError: MLflow does not answer, or no longer has the model.
        """
        from housing.mlops import batch_scoring  # polars and mlflow are too heavy for a DAG file

        settings = load_settings(Path(self.root))
        done: list[Scores] = []
        faults: list[DataError] = []
        with explained(context):
            params = load_params(settings.root / "params.yaml")
            for file in self.files:
                try:
                    done.append(batch_scoring.predict(settings, params, Path(file), self.version))
                except DataError as error:
                    faults.append(error)
                else:
                    self._tell(done[-1])
            if faults:
                facts = "\n".join(error.fact for error in faults)
                raise DataError(facts, faults[0].hint) from faults[0]
        return [scores.model_dump(mode="json", exclude={"columns"}) for scores in done]

    def _tell(self, scores: Scores) -> None:
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

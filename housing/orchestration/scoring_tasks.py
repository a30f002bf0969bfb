"""The tasks of batch scoring: which files wait for prices, and the prices of one file."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.configuration import conf

from housing.domain.config import load_registered, load_scoring
from housing.domain.refusals import forget, refuse
from housing.engine.airflow.error_handling import explained
from housing.engine.airflow.fast_skip import skipped
from housing.errors import DataError, FileChangedError, RegistryError
from housing.orchestration import xcom_keys
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
        files = tuple(filter(self._is_nameable, files))
        if not files:
            raise skipped(f"version {version} has priced every file")
        each = math.ceil(len(files) / conf.getint("core", "max_map_length"))
        self.log.info("%s files wait, %s a task", f"{len(files):,}", each)
        paths = [str(file) for file in files]
        return [
            {"files": paths[start : start + each], "version": version}
            for start in range(0, len(paths), each)
        ]

    def _is_nameable(self, file: Path) -> bool:
        """Whether Airflow, which keeps all in UTF-8, can hand the file on to a task."""
        name = os.fsencode(file.name).decode(errors="replace")
        if name != file.name:
            self.log.warning("left out: the name %s is no UTF-8, rename the file", name)
        return name == file.name


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
        """Prices the files; one that cannot be priced is set aside, and keeps back none after it.

        Returns:
            What became of the rows of each, without the description of its columns.

        Raises:
            AirflowFailException: A file does not fit, or cannot be read to its end: no retry.
            FileChangedError: A file is still being written: a retry helps.
            TrackingError: MLflow does not answer, or no longer has the model.
        """
        from housing.mlops import batch_scoring  # polars and mlflow are too heavy for a DAG file

        settings = load_settings(Path(self.root))
        outbox = settings.root / batch_scoring.OUTBOX
        done: list[Scores] = []
        faults: dict[Path, DataError] = {}
        with explained(context):
            params = load_scoring(settings.root / "params.yaml")
            for file in map(Path, self.files):
                try:
                    done.append(batch_scoring.predict(settings, params, file, self.version))
                except DataError as error:
                    faults[file] = error
                else:
                    forget(outbox, file)
                    self._tell(done[-1])
            self._set_aside(context, outbox, f"{params.registry.model} {self.version}", faults)
        return [scores.model_dump(mode="json", exclude={"columns"}) for scores in done]

    def _set_aside(
        self, context: Context, outbox: Path, model: str, faults: dict[Path, DataError]
    ) -> None:
        """Notes which files cannot be priced, and leaves to the notification what is new of it."""
        changing = {file for file, fault in faults.items() if isinstance(fault, FileChangedError)}
        new = {
            file.name: str(fault)
            for file, fault in faults.items()
            if file not in changing and refuse(outbox, file, model, fault, context["ti"].run_id)
        }
        if len(faults) > len(changing):
            context["ti"].xcom_push(key=xcom_keys.REFUSED, value=new)
        if faults:
            kind = FileChangedError if changing else DataError  # the one is tried again
            fault = faults[min(changing or faults)]
            raise kind("\n".join(error.fact for error in faults.values()), fault.hint) from fault

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

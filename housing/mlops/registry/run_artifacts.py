"""What MLflow holds of a result: downloaded, so that bytes can be checked and the model asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain.gate import same
from housing.domain.scoring import Pricer, Scores, ServedModel, priced
from housing.domain.verdict import Check
from housing.mlops.registry.client import tagged_hashes
from housing.mlops.registry.proof import fetch, fetch_model
from housing.mlops.tracking.bundle import read_columns
from housing.mlops.tracking.digest import BUNDLE, compare
from housing.mlops.tracking.logged_rows import SEEN_ROWS, TEST_ROWS
from housing.mlops.tracking.result import PREDICTIONS, REPORT, TRANSFORM, file_md5, model_path
from housing.mlops.tracking.tracked_run import CANDIDATE, DATA_TIME, HASH, ROWS
from housing.mlops.tracking.worker import Worker

if TYPE_CHECKING:
    import polars as pl
    from mlflow.entities import Run

FILES = (PREDICTIONS, REPORT, SEEN_ROWS, TEST_ROWS)


@dataclass(frozen=True)
class Record:
    """One run and its files.

    Attributes:
        run: The run.
        folder: Where its files lie; what MLflow no longer has is missing there.
        bundle: Folder of its logged model.
        started: The process of the model, where it was started before anything is asked.
    """

    run: Run
    folder: Path
    bundle: Path
    started: list[Pricer] = field(default_factory=list)

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the run."""
        tags: Mapping[str, str] = self.run.data.tags
        return tags

    @property
    def data_time(self) -> int:
        """When the data was ingested, in milliseconds since 1970."""
        return int(self.tags[DATA_TIME])

    @property
    def model_hashes(self) -> tuple[str | None, str | None]:
        """Hashes of the model and of the transform, by the run's tags."""
        path = model_path(self.tags.get(CANDIDATE, ""))
        return self.tags.get(f"{HASH}{path}"), self.tags.get(f"{HASH}{TRANSFORM}")

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """The test rows with actual price, prediction and interval."""
        return _table(self.folder / PREDICTIONS)

    @cached_property
    def seen(self) -> pl.DataFrame:
        """Identities of the rows that training and validation saw."""
        return _table(self.folder / SEEN_ROWS)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The test rows as delivered."""
        return _table(self.folder / TEST_ROWS)

    def metrics(self, side: str) -> dict[str, float]:
        """Metrics of the run whose names start with a side, without it."""
        prefix = f"{side}_"
        return {
            name.removeprefix(prefix): value
            for name, value in self.run.data.metrics.items()
            if name.startswith(prefix)
        }

    @property
    def digest(self) -> str | None:
        """Digest of the logged model's files; None of one that was logged before there was any."""
        return self.tags.get(BUNDLE)

    def ask(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Scores]:
        """Prices rows with the logged model, whose bytes are checked, just as batch scoring does.

        Returns:
            What `housing.domain.scoring.priced` returns.

        Raises:
            DataError: The rows lack a column.
            ModelError: The model cannot price them.
        """
        model = ServedModel(self.run.info.run_id, "", read_columns(self.bundle), self._opened)
        return priced(rows, model)

    def read(self) -> None:
        """Reads all tables into memory."""
        _ = self.predictions, self.seen, self.rows

    def start(self, processes: ExitStack) -> None:
        """Starts the process of the logged model, whose bytes are checked.

        It loads for most of a second, in which the caller does other work before it asks.

        Args:
            processes: Ends it.
        """
        self.started.append(processes.enter_context(Worker(self.bundle)))

    def _opened(self) -> AbstractContextManager[Pricer]:
        return nullcontext(self.started[0]) if self.started else Worker(self.bundle)

    def bytes_check(self, hashes: Mapping[str, str]) -> Check:
        """Checks that the bytes in MLflow are the ones that were evaluated.

        Args:
            hashes: What each evidence file must have, by path. The data itself is not in MLflow.
        """
        model = model_path(self.tags.get(CANDIDATE, ""))
        served = (model, TRANSFORM, REPORT)
        rows = (SEEN_ROWS, TEST_ROWS)
        logged = (REPORT, PREDICTIONS, *rows)
        files = {
            f"{path} of the model": self.bundle / "artifacts" / Path(path).name for path in served
        }
        files |= {path: self.folder / path for path in logged}
        expected = {f"{path} of the model": hashes.get(path, "") for path in served}
        expected |= {path: hashes.get(path, "") for path in (REPORT, PREDICTIONS)}
        expected |= {path: self.tags.get(f"{ROWS}{path}", "") for path in rows}
        found = {name: _md5(file) for name, file in files.items()}
        if self.digest is not None:
            whole = compare(self.bundle, self.digest)
            found |= {f"{path} of the model": sha256 for path, sha256 in whole[0].items()}
            expected |= {f"{path} of the model": sha256 for path, sha256 in whole[1].items()}
        return same("artifact_bytes", "in MLflow", found, expected)

    def tagged_hashes(self) -> dict[str, str]:
        """Hashes of the evidence files, by the run's tags."""
        return tagged_hashes(self.tags)


def download(run: Run, folder: Path) -> Record:
    """Fetches what MLflow holds of a run; what it no longer has is left out.

    Args:
        run: The run.
        folder: An existing folder to fill.
    """
    for path in FILES:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(f"runs:/{run.info.run_id}/{path}", target.parent)
    return Record(run, folder, fetch_model(run, folder))


def _md5(file: Path) -> str | None:
    return file_md5(file) if file.is_file() else None


def _table(file: Path) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(file)

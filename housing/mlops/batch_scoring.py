"""Files priced by the model in an alias, each of them once for each version, and tracked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from housing.domain.config import Registered, ScoringParams
from housing.domain.data.landing import can_be_delivered
from housing.domain.drift import drift
from housing.domain.refusals import refused
from housing.domain.scoring import Scores, digest, score
from housing.errors import DataError, MissingColumnsError
from housing.mlops.registry.common import another_table
from housing.mlops.registry.download import holder, serving
from housing.mlops.scored_files import track
from housing.mlops.tracking.connection import connected
from housing.settings import Settings

INBOX = Path("data/scoring")
"""Folder, below the project, of files that wait for prices."""
OUTBOX = Path("data/predictions")
"""Folder, below the project, of the prices."""


def outputs(settings: Settings, file: Path, version: str) -> tuple[Path, Path]:
    """Where the prices of a file go, and its rows that cannot be priced.

    The folder of a file that does not lie in the inbox counts, as eight hex digits of its hash:
    ``a/x.csv`` and ``b/x.csv`` are two files.

    Args:
        settings: Says where the project is.
        file: The file.
        version: The version that prices it.
    """
    folder, inbox = file.resolve().parent, (settings.root / INBOX).resolve()
    mark = f".{hashlib.sha256(bytes(folder)).hexdigest()[:8]}" if folder != inbox else ""
    stem = settings.root / OUTBOX / f"{file.name}{mark}.v{version}"
    return Path(f"{stem}.parquet"), Path(f"{stem}.quarantine.parquet")


def waiting(settings: Settings, params: Registered, alias: str) -> tuple[str, tuple[Path, ...]]:
    """The version in an alias, and the files that it has not priced yet and could price.

    Args:
        settings: Where MLflow and the project are.
        params: Names the registered model.
        alias: The alias.

    Raises:
        RegistryError: The alias points to nothing.
        TrackingUnavailableError: MLflow does not answer.
    """
    version, run_id = holder(settings, params, alias)
    model = f"{params.registry.model} {version}"
    there = sorted(filter(can_be_delivered, (settings.root / INBOX).glob("*")))
    refusals = refused(settings.root / OUTBOX, there)
    files = []
    for file in there:
        if file in refusals and refusals[file].holds(file, model):
            continue
        known = Scores.read(outputs(settings, file, version)[0])
        if known is None or (known.run_id, known.source) != (run_id, digest(file)):
            files.append(file)
    return version, tuple(files)


def predict(
    settings: Settings,
    params: ScoringParams,
    file: Path,
    version: str,
    watch: Callable[[int], None] = lambda _: None,
) -> Scores:
    """Prices a file, and tracks how many rows it had and how far it lies from the training data.

    A second call for the same file and version does what is left to do, which may be nothing.

    Args:
        settings: Where MLflow and the project are.
        params: Names the registered model.
        file: A CSV or Parquet file.
        version: The version that prices it.
        watch: Told again and again how many rows are done.

    Raises:
        DataError: The file does not fit, or cannot be read to its end.
        EvidenceError: The version is not what was judged: a file of its model differs.
        ModelError: The model cannot price the file.
        RegistryError: There is no such version.
        RunNotFoundError: The run of the version was deleted.
        TrackingUnavailableError: MLflow does not answer; the same call later finishes the work.
    """
    predictions, quarantine = outputs(settings, file, version)
    with serving(settings, params, version) as found:
        try:
            scores = score(file, predictions, quarantine, found.model, watch, params.data.csv)
        except MissingColumnsError as error:
            foreign = [name for name in found.model.columns if name not in params.data.columns]
            if not foreign:
                raise
            fact, hint = another_table(foreign)
            model = f"version {version} of {params.registry.model}"
            raise DataError(f"{model} cannot price {file}: {fact}", hint) from error
    with connected(settings) as client:
        track(client, settings, scores, drift(found.columns, scores.columns))
    return scores

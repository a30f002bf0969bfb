"""Gathers the gate's evidence from MLflow and makes the checks of `housing.domain.gate`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain import gate
from housing.domain.config import Params
from housing.domain.metrics import regression_metrics
from housing.domain.verdict import Check, Contest, Verdict
from housing.errors import DataError, ModelError, RegistryError
from housing.mlops.registry.client import (
    WITHDRAWN,
    alias_version,
    limits_digest,
    moved_aliases,
    withdrawn_versions,
)
from housing.mlops.registry.common import common_rows
from housing.mlops.registry.rivals import proved_rival, suffix_of
from housing.mlops.registry.run_artifacts import Record, download
from housing.mlops.tracking.result import DATA, Result, broken_links, model_path
from housing.mlops.tracking.tracked_run import HASH

if TYPE_CHECKING:
    import polars as pl
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True, slots=True)
class Findings:
    """Checks, and what else came out of making them."""

    checks: tuple[Check, ...]
    contest: Contest = "first"
    metrics: dict[str, float] | None = None
    rival_metrics: dict[str, float] | None = None

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def judge(client: MlflowClient, params: Params, result: Result, run: Run, folder: Path) -> Verdict:
    """Makes every check for the result in the workspace.

    A check that rests on broken evidence is not made: the verdict then ends with that evidence.

    Args:
        client: An open MLflow.
        params: The limits and the names in the registry.
        result: The result in the workspace.
        run: Its run.
        folder: An empty folder for downloads.
    """
    model = params.registry.model
    rivals = {
        alias: version
        for alias in moved_aliases(params)
        if (version := alias_version(client, model, alias)) is not None
    }
    record = download(run, folder)
    with ExitStack() as processes:
        parts = _findings(client, params, result, record, rivals, processes)
    held = {alias: str(version.version) for alias, version in rivals.items()}
    facing = next((part for part in parts if part.contest != "first"), parts[-1])
    return Verdict(
        result=result.fingerprint,
        run_id=run.info.run_id,
        passed=all(part.passed for part in parts),
        alias=params.registry.staging,
        against=held.get(params.registry.staging),
        champion=held.get(params.registry.champion),
        contest=facing.contest,
        limits=limits_digest(params),
        bundle=record.digest or "",
        metrics=next((part.metrics for part in parts if part.metrics), {}),
        rival_metrics=facing.rival_metrics or {},
        checks=tuple(check for part in parts for check in part.checks),
    )


def _findings(  # noqa: PLR0913, PLR0917 - the body of `judge`, while models' processes run
    client: MlflowClient,
    params: Params,
    result: Result,
    record: Record,
    rivals: dict[str, ModelVersion],
    processes: ExitStack,
) -> list[Findings]:
    """The parts of the verdict, in their order; the models load at once, beside other checks."""
    parts = [Findings(_evidence(client, params, result, record))]
    if parts[-1].passed:
        parts.append(_agreement(record))
    metrics = parts[-1].metrics
    if not (parts[-1].passed and metrics):
        return parts
    proved = {
        alias: proved_rival(client, params, record, alias, version)
        for alias, version in rivals.items()
    }
    known = [rival for rival in proved.values() if isinstance(rival, Record)]
    for one in (record, *known):
        one.read()  # all of it before any model runs, which could change files
    for one in (record, *(rival for rival in known if _will_be_asked(record, rival))):
        one.start(processes)
    parts.append(_absolute(params, record, metrics))
    parts += [
        _against(params, record, alias, version, proved[alias]) for alias, version in rivals.items()
    ]
    return parts


def _will_be_asked(record: Record, rival: Record) -> bool:
    """Whether `common_rows` runs the rival: its code is proved, and its test rows are others."""
    return rival.digest is not None and contest_of(record, rival) == "refresh"


def _evidence(
    client: MlflowClient, params: Params, result: Result, record: Record
) -> tuple[Check, ...]:
    """From ``dvc.lock`` to the run's tags to the bytes that MLflow holds."""
    broken = broken_links(result.root, [*result.hashes, *map(model_path, params.candidates)])
    checks = [
        gate.fact(
            "lock_chain",
            f"dvc.lock is no chain: {'; '.join(broken)}" if broken else None,
            "each stage ran on the files that the stage before it wrote",
        )
    ]
    checks += [
        gate.same("run_tags", "in the run's tags", record.tagged_hashes(), result.hashes),
        record.bytes_check(result.hashes),
    ]
    withdrawn = [
        f"version {version.version}, the same model, was withdrawn: {version.tags[WITHDRAWN]}"
        for version in withdrawn_versions(client, params.registry.model, result.hashes)
    ]
    checks.append(
        gate.fact(
            "not_withdrawn", "; ".join(withdrawn) or None, "nobody has rolled this model back"
        )
    )
    return tuple(checks)


def _agreement(record: Record) -> Findings:
    """Whether the run's numbers follow from its rows, and its rows were held out."""
    predictions = record.predictions
    try:
        metrics = regression_metrics(
            predictions["actual"].to_numpy(), predictions["predicted"].to_numpy()
        )
    except DataError as error:
        return Findings((gate.fact("predictions_measurable", error.fact, ""),))
    named = {str(name): value for name, value in metrics.items()}
    leaked = predictions.height - gate.held_out(predictions, record.seen).height
    return Findings(
        (
            gate.fact("predictions_measurable", None, "every test row has price and prediction"),
            gate.agreement(record.metrics("test"), named),
            gate.count("rows_held_out", leaked, 0, f"training has seen {leaked} test rows"),
        ),
        metrics=named,
    )


def _absolute(params: Params, record: Record, metrics: dict[str, float]) -> Findings:
    """What can be said of the challenger alone."""
    predictions = record.predictions
    golden = record.rows.with_columns(predictions["predicted"]).gather_every(
        max(1, predictions.height // params.gate.golden_rows)
    )
    return Findings(
        (
            *gate.thresholds(metrics, params.gate),
            gate.coverage(predictions, params.evaluate.coverage, params.gate),
            gate.slice_coverage(
                predictions, params.evaluate.coverage, params.features.places, params.gate
            ),
            _golden(params, record, golden),
        )
    )


def _golden(params: Params, record: Record, golden: pl.DataFrame) -> Check:
    try:
        served, scores = record.ask(golden.select(params.data.inputs))
    except (DataError, ModelError) as error:
        return gate.fact("golden_rows", error.fact, "")
    if scores.quarantined:
        fault = f"the served model refuses {scores.quarantined} rows: {', '.join(scores.reasons)}"
        return gate.fact("golden_rows", fault, "")
    return gate.golden(golden["predicted"], served["prediction"], params.gate)


def _against(
    params: Params, record: Record, alias: str, version: ModelVersion, rival: Record | Check
) -> Findings:
    """The challenger against the model in an alias, or what is to be said where it is unknown."""
    if isinstance(rival, Check):
        return Findings((rival,), contest="same" if rival.passed else "first")
    suffix = suffix_of(params, alias)
    known = f"rival_known{suffix}"
    contest = contest_of(record, rival)
    checks = [
        gate.fact(known, None, f"version {version.version} in {alias} is what was evaluated"),
        gate.newer(record.data_time, rival.data_time),
        *compared(params, record, rival, contest),
    ]
    named = [
        check if check.name == known else check.model_copy(update={"name": f"{check.name}{suffix}"})
        for check in checks
    ]
    return Findings(tuple(named), contest=contest, rival_metrics=rival.metrics("test"))


def contest_of(record: Record, rival: Record) -> Contest:
    """What a challenger is to a rival: the same model, a refresh on new data, an improvement."""
    if record.model_hashes == rival.model_hashes:
        return "same"
    data = f"{HASH}{DATA}"
    return "improvement" if record.tags.get(data) == rival.tags.get(data) else "refresh"


def compared(params: Params, record: Record, rival: Record, contest: Contest) -> tuple[Check, ...]:
    """The checks that need both models on the same held-out rows."""
    limits = params.gate
    try:
        paired = common_rows(record, rival)
    except (DataError, ModelError, RegistryError) as error:
        fault = f"the model in the alias: {error.fact}; next: {error.hint}"
        return (gate.fact("common_rows", fault, ""),)
    enough = gate.count(
        "common_rows",
        paired.height,
        limits.min_rows,
        f"both models were scored on {paired.height:,} rows that neither has seen",
    )
    if not enough.passed:
        return (enough,)
    comparison = gate.compare(paired, limits, params.features.places, params.seed)
    return (enough, gate.gain(comparison, contest, limits), gate.slices(comparison, limits))

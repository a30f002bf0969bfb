"""Gathers the gate's evidence from MLflow and makes the checks of `housing.domain.gate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from housing.domain import gate
from housing.domain.config import Params
from housing.domain.metrics import regression_metrics
from housing.domain.verdict import Check, Contest, Verdict
from housing.engine.errors import typeable
from housing.errors import DataError, EvidenceError, ModelError, RegistryError, RunNotFoundError
from housing.mlops.registry.client import (
    WITHDRAWN,
    alias_version,
    limits_digest,
    moved_aliases,
    withdrawn_versions,
)
from housing.mlops.registry.common import common_rows
from housing.mlops.registry.proof import run_behind
from housing.mlops.registry.run_artifacts import Record, download
from housing.mlops.tracking.result import DATA, Result, broken_links, model_path
from housing.mlops.tracking.tracked_run import HASH, RESULT

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
    parts = [Findings(_evidence(client, params, result, record))]
    if parts[-1].passed:
        parts.append(_agreement(record))
    if parts[-1].passed and parts[-1].metrics:
        parts.append(_absolute(params, record, parts[-1].metrics))
        parts += [
            _against(client, params, record, alias, version, folder / alias)
            for alias, version in rivals.items()
        ]
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


def _against(  # noqa: PLR0913, PLR0917 - one call site; a bundle of these would have no meaning
    client: MlflowClient,
    params: Params,
    record: Record,
    alias: str,
    version: ModelVersion,
    folder: Path,
) -> Findings:
    """The challenger against the model in an alias."""
    suffix = "" if alias == params.registry.staging else f"_{alias}"
    known = f"rival_known{suffix}"
    try:
        run = run_behind(client, version)
    except RunNotFoundError as error:
        return _unknown(params, record, alias, version, known, error)
    except EvidenceError as error:
        fault = f"version {version.version} in {alias} cannot be trusted: {error.fact}"
        return Findings((gate.fact(known, fault, ""),))
    folder.mkdir()
    rival = download(run, folder)
    evidence = rival.bytes_check(rival.tagged_hashes())
    if not evidence.passed:
        fault = f"version {version.version} in {alias} cannot be trusted: {evidence.sentence}"
        return Findings((gate.fact(known, fault, ""),))
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


def _unknown(  # noqa: PLR0913, PLR0917 - one branch of `_against`, with what that knows
    params: Params,
    record: Record,
    alias: str,
    version: ModelVersion,
    known: str,
    error: RunNotFoundError,
) -> Findings:
    """What can be said where the run of the model in an alias is deleted, or gone for ever."""
    if version.tags.get(RESULT) == record.tags.get(RESULT):
        # Its version says so, and the record is that result, logged again.
        right = f"version {version.version} in {alias} is this very result; its run is gone"
        return Findings((gate.fact(known, None, right),), contest="same")
    fault = (
        f"version {version.version} in {alias} cannot be compared: {error.fact}; next: "
        f"{_way_on(params, alias, version, error)}"
    )
    return Findings((gate.fact(known, fault, ""),))


def _way_on(params: Params, alias: str, version: ModelVersion, error: RunNotFoundError) -> str:
    """What to type where the run of the model in an alias is missing."""
    import mlflow

    if not error.gone:
        return error.hint
    model = params.registry.model
    call = f"delete_registered_model_alias('{model}', '{alias}')"
    script = f"from mlflow import MlflowClient as C; C('{mlflow.get_tracking_uri()}').{call}"
    return typeable(
        f"housing rollback --alias {alias} --why 'run of version {version.version} is gone', which "
        "puts the version before back; or, where there is none, this takes the alias away, and the "
        f'next run is judged as the first: python -c "{script}"'
    )


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

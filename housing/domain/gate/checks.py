"""The checks, each a function from plain values to one named answer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from housing.domain.config import GateParams
from housing.domain.gate.compare import Comparison
from housing.domain.groups import MIN_GROUPS
from housing.domain.verdict import Check, Contest

AGREEMENT = 1e-6
"""Relative difference that two ways to compute the same metric may show."""


def same(
    name: str, where: str, found: Mapping[str, str | None], expected: Mapping[str, str]
) -> Check:
    """Checks that every file is the one that was evaluated.

    Args:
        name: Name of the check.
        where: Where the hashes were found, for the sentence.
        found: Hash of each file by path; None, or no entry, where it is missing.
        expected: The hash that each file must have.
    """
    wrong = [
        f"{path} {where} is {'missing' if found.get(path) is None else 'not what was evaluated'}"
        for path, md5 in expected.items()
        if found.get(path) != md5
    ]
    right = f"all {len(expected)} files {where} are what was evaluated"
    return Check(
        name=name,
        passed=not wrong,
        value=len(expected) - len(wrong),
        limit=len(expected),
        sentence="; ".join(wrong) or right,
    )


def agreement(logged: Mapping[str, float], recomputed: Mapping[str, float]) -> Check:
    """Checks that the metrics in MLflow follow from the predictions in MLflow.

    Args:
        logged: Test metrics of the run.
        recomputed: The same metrics, from the per-row predictions of the run.
    """
    wrong = [
        f"{name} is {logged.get(name, math.nan):,.4f} in MLflow and {value:,.4f} by its predictions"
        for name, value in recomputed.items()
        if not math.isclose(logged.get(name, math.nan), value, rel_tol=AGREEMENT, abs_tol=1e-9)
    ]
    return Check(
        name="metrics_agree",
        passed=not wrong,
        value=float(len(wrong)),
        limit=0.0,
        sentence="; ".join(wrong) or "the logged metrics follow from the logged predictions",
    )


def thresholds(metrics: Mapping[str, float], limits: GateParams) -> tuple[Check, ...]:
    """Checks the absolute limits.

    Args:
        metrics: `r2_score` and `rmse` (dollars) on the test rows.
        limits: What is allowed.
    """
    r2, rmse = metrics["r2_score"], metrics["rmse"]
    return (
        Check(
            name="r2_score",
            passed=r2 >= limits.min_r2,
            value=_number(r2),
            limit=limits.min_r2,
            sentence=f"R2 is {r2:.4f}, at least {limits.min_r2:g} is needed",
        ),
        Check(
            name="rmse",
            passed=rmse <= limits.max_rmse,
            value=_number(rmse),
            limit=limits.max_rmse,
            sentence=f"RMSE is ${rmse:,.0f}, at most ${limits.max_rmse:,.0f} is allowed",
        ),
    )


def golden(recorded: pl.Series, served: pl.Series, limits: GateParams) -> Check:
    """Checks that the served model makes the predictions that were evaluated.

    Args:
        recorded: Predictions of the evaluation for the golden rows, in dollars.
        served: What the logged model answers for the same raw rows, in dollars.
        limits: What is allowed.
    """
    if recorded.len() == 0 or recorded.len() != served.len():
        worst = math.nan
    else:
        worst = float(np.max(np.abs(recorded.to_numpy() - served.to_numpy())))
    return Check(
        name="golden_rows",
        passed=worst <= limits.max_golden_difference,
        value=_number(worst),
        limit=limits.max_golden_difference,
        sentence=f"the logged model differs by at most ${worst:,.2f} from the evaluated "
        f"predictions on {recorded.len()} golden rows, "
        f"${limits.max_golden_difference:,.2f} is allowed",
    )


def fact(name: str, fault: str | None, otherwise: str) -> Check:
    """A check whose answer is a plain yes or no.

    Args:
        name: Name of the check.
        fault: What is wrong, or None.
        otherwise: What holds where nothing is wrong.
    """
    return Check(
        name=name, passed=fault is None, value=None, limit=None, sentence=fault or otherwise
    )


def count(name: str, value: int, limit: int, sentence: str) -> Check:
    """Checks that there are enough of something, or none where the limit is 0."""
    passed = value >= limit if limit else value == 0
    return Check(name=name, passed=passed, value=value, limit=limit, sentence=sentence)


def newer(data_time: int, rival_time: int) -> Check:
    """Checks that older data does not replace newer data.

    Args:
        data_time: When the challenger's data was ingested, in milliseconds since 1970.
        rival_time: The same of the model in the alias.
    """
    behind = max(0.0, (rival_time - data_time) / 1000)
    sentence = "the data is not older than that of the model in the alias"
    if behind:
        sentence = f"the data was ingested {behind:,.0f} s before that of the model in the alias"
    return Check(
        name="data_not_older", passed=not behind, value=behind, limit=0.0, sentence=sentence
    )


def gain(comparison: Comparison, contest: Contest, limits: GateParams) -> Check:
    """Checks the challenger against the champion on the same held-out rows.

    A change on the same data must be better for sure; a refresh on new data must for sure not be
    worse than the margin; the same model once more must not be worse.

    Args:
        comparison: What `compare` measured.
        contest: What the challenger is to the champion.
        limits: What is allowed.
    """
    bound = comparison.bound
    if contest == "improvement":
        passed, limit = bound is not None and bound > 0, 0.0
        rule = "more than $0 is needed on the same data"
    elif contest == "same":
        passed, limit = comparison.gain >= 0, 0.0
        rule = "the model is the same"
    else:
        limit = -limits.max_regression
        passed = bound is not None and bound >= limit
        rule = f"a refresh may lose ${limits.max_regression:,.0f}"
    turn = "falls" if comparison.gain >= 0 else "rises"
    return Check(
        name="gain",
        passed=passed,
        value=None if bound is None else _number(bound),
        limit=limit,
        sentence=f"RMSE {turn} by ${abs(comparison.gain):,.0f} on {comparison.rows:,} common rows, "
        f"{_sure(comparison, limits)}; {rule}",
    )


def _sure(comparison: Comparison, limits: GateParams) -> str:
    bound, confidence = comparison.bound, f"({limits.confidence:.0%})"
    if bound is None:
        return (
            f"but nothing is sure: the rows are worth {comparison.effective:.0f} groups of "
            f"neighbours, and a bound needs {MIN_GROUPS}"
        )
    if bound <= 0:
        return f"at worst {confidence} it rises by ${-bound:,.0f}"
    return f"for sure {confidence} by ${bound:,.0f}"


def slices(comparison: Comparison, limits: GateParams) -> Check:
    """Checks that no region and no price decile gets much worse.

    A slice fails where its loss is above the limit and is no accident of the sample.

    Args:
        comparison: What `compare` measured.
        limits: What is allowed.
    """
    losers = [
        part
        for part in comparison.slices
        if part.loss > limits.max_slice_regression and part.bound > 0
    ]
    worst = max(comparison.slices, key=lambda part: part.loss, default=None)
    if losers:
        sentence = "worse for sure: " + ", ".join(
            f"{part.name} by ${part.loss:,.0f} ({part.rows} rows)" for part in losers
        )
    elif worst is None:
        sentence = f"no slice has {limits.min_slice_rows} rows"
    else:
        sentence = f"of {len(comparison.slices)} slices none is worse for sure; " + (
            f"the largest loss is ${worst.loss:,.0f} in {worst.name}".replace("$-", "-$")
        )
    return Check(
        name="slices",
        passed=not losers,
        value=_number(worst.loss) if worst else None,
        limit=limits.max_slice_regression,
        sentence=sentence,
    )


def _number(value: float) -> float | None:
    """The value, or None where JSON has no word for it."""
    return float(value) if math.isfinite(value) else None

"""What a person should do now, in one line, from what the page shows."""

from __future__ import annotations

from dataclasses import dataclass

from housing.dashboard.model import DashboardData, Result
from housing.domain.drift import LIMIT
from housing.domain.verdict import Check
from housing.messages import format_metric

BAD_SHARE = 0.05
"""Share of quarantined rows that a file may have, however few the training data had."""
USUAL_TIMES = 3
"""How many times the training data's share of quarantined rows a file may have."""


@dataclass(frozen=True)
class Advice:
    """What to do.

    Attributes:
        text: One sentence without a full stop.
        link: Where to do it, or "".
    """

    text: str
    link: str = ""


def advise(data: DashboardData) -> Advice:
    """What to do first: of several things the one that others wait for.

    Args:
        data: What the page shows.
    """
    for look in (_failed_run, _decision, _rejection, _scored, _delivered):
        found = look(data)
        if found:
            return found
    if not data.results:
        return Advice("start the pipeline: MLflow holds no result yet")
    return Advice("nothing")


def _failed_run(data: DashboardData) -> Advice | None:
    run = data.runs[0] if data.runs else None
    if run is None or run["state"] == "success":
        return None
    if not run["failures"]:
        return Advice(f"look at the run {run['run']}, which failed", run["link"])
    first = run["failures"][0]
    words = " ".join(first["message"].split())
    return Advice(f"look at {first['task']}, which failed in the last run: {words}", first["link"])


def _decision(data: DashboardData) -> Advice | None:
    """A version that the gate let pass after a person decided on a champion last."""
    staging, champion = data.alias(data.staging), data.alias(data.champion)
    if staging is None or staging.result.withdrawn or staging.result.declined:
        return None
    if champion and (champion.result == staging.result or champion.since >= staging.since):
        return None
    name = staging.result.name
    against = f" {champion.result.name} is champion until then" if champion else ""
    text = f"approve or reject {name}: it passed the gate and waits for a person;{against}"
    return Advice(text.rstrip(";"), f"{data.airflow}/required_actions" if data.airflow else "")


def _rejection(data: DashboardData) -> Advice | None:
    newest = data.newest
    if newest is None or newest.overrides or newest.withdrawn:
        return None
    verdict = newest.later or newest.verdict
    if verdict is None or verdict.passed:
        return None
    failed = [check for check in verdict.checks if not check.passed]
    if not failed:
        return Advice(f"look at {newest.name}, which the gate rejected", newest.run_link)
    return Advice(_missed(newest, failed[0]), newest.run_link)


def _missed(result: Result, check: Check) -> str:
    numbers = isinstance(check.value, float) and isinstance(check.limit, int | float)
    gap = ""
    if numbers and check.name in {"rmse", "r2_score"}:
        by = abs(float(check.value or 0) - float(check.limit or 0))
        gap = f" by {format_metric(check.name, by)}"
    name = check.name.replace("_", " ")
    return f"look at {result.name}: the limit {name} failed{gap}: {check.sentence}"


def _scored(data: DashboardData) -> Advice | None:
    """The newest file that the live model priced, where it does not fit the model's own data."""
    file = data.live.files[0] if data.live and data.live.files else None
    if data.live is None or file is None:
        return None
    share = file.quarantined / max(file.rows, 1)
    if share > max(BAD_SHARE, USUAL_TIMES * (data.live.usual or 0)):
        text = f"look at the scored file {file.name}: {share:.1%} of its rows got no price"
        return Advice(text)
    drifted = drifted_columns(file.drift)
    if 2 * len(drifted) > len(file.drift):
        return Advice(f"look at the scored file {file.name}: {', '.join(drifted)} drifted")
    return None


def _delivered(data: DashboardData) -> Advice | None:
    newest = data.quality.deliveries[-1] if data.quality and data.quality.deliveries else None
    drifted = drifted_columns(newest.drift) if newest else []
    if newest is None or 2 * len(drifted) <= len(newest.drift):
        return None
    return Advice(f"look at the delivery {newest.name}: {', '.join(drifted)} drifted")


def drifted_columns(drift: dict[str, float]) -> list[str]:
    """The columns that drifted, the farthest first.

    Args:
        drift: Distance by column.
    """
    return sorted((name for name in drift if drift[name] > LIMIT), key=lambda name: -drift[name])

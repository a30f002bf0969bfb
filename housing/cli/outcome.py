"""What a run did, as tables for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from housing.engine.errors import typeable

REJECTED = 3
"""Exit code of a run whose model the gate rejected."""

GOOD = {"ran", "restored", "unchanged", "left out"}
"""States of a stage that did all it had to do."""

_COLOURS = {"ran": "green", "restored": "cyan", "unchanged": "bright_black", "failed": "red"}
_MONEY = ("rmse", "mae")


@dataclass(frozen=True)
class Outcome:
    """One run and the model it left behind.

    Attributes:
        summary: What `summarize_run` wrote.
        report: The evaluation report, or None where there is none.
        model: Name of the registered model.
        alias: The alias that a promotion moves.
        pages: Where `make up` shows Airflow and MLflow, as one phrase.
    """

    summary: Mapping[str, Any]
    report: Mapping[str, Any] | None
    model: str
    alias: str
    pages: str = ""

    @property
    def exit_code(self) -> int:
        """0 done, 1 a task failed or did not get that far, 3 the gate rejected the model."""
        states = {stage["state"] for stage in self.summary["stages"]}
        if self.summary["state"] != "success" or not states <= GOOD:
            return 1
        verdict = self.summary["verdict"]
        return 0 if verdict is None or verdict["passed"] else REJECTED

    @property
    def version(self) -> str | None:
        """The version that the alias points to, as far as this run knows."""
        promotion, verdict = self.summary["promotion"], self.summary["verdict"]
        if promotion:
            return str(promotion["version"])
        return verdict["against"] if verdict else None

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        registry = {"model": self.model, "alias": self.alias, "version": self.version}
        metrics = self.report and {
            "candidate": self.report["candidate"],
            **self.report["metrics"],
        }
        return {**self.summary, "model": metrics, "registry": registry}


def show(outcome: Outcome, console: Console) -> None:
    """Prints the outcome.

    Args:
        outcome: What the run did.
        console: Where to print.
    """
    summary = outcome.summary
    table = Table("stage", "state", "seconds", "saved", "why", box=None, header_style="bold")
    for stage in summary["stages"]:
        state = Text(stage["state"], style=_COLOURS.get(stage["state"], "yellow"))
        saved = f"{stage['saved_seconds']:.1f}" if stage["saved_seconds"] else ""
        why = Text(_why(stage["reasons"]))
        table.add_row(Text(stage["stage"]), state, f"{stage['seconds']:.1f}", saved, why)
    for column in (2, 3):
        table.columns[column].justify = "right"
    console.print()
    console.print(table)
    console.print()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    if outcome.report:
        facts.add_row("model", Text(_model(outcome.report)))
    for sentence in summary["data"]:
        facts.add_row("data", Text(sentence))
    facts.add_row("gate", Text(_gate(summary)))
    if outcome.version:
        registered = f"{outcome.model} version {outcome.version} is {outcome.alias}"
        facts.add_row("registry", Text(registered))
    for task, message in summary["failures"].items():
        # A stage's own words say more than that its command failed.
        told = summary["words"].get(task) or message
        facts.add_row("failed", Text(f"{task}: {told}"))
    facts.add_row("next", Text(_next_step(outcome)))
    console.print(facts, highlight=False)


def _next_step(outcome: Outcome) -> str:
    if outcome.exit_code == 1:
        return typeable("housing run, once that is mended: it goes on with what is missing")
    return f"make up    {outcome.pages}, logins printed"


def _why(reasons: list[str]) -> str:
    if not reasons:
        return ""
    more = f" (+{len(reasons) - 1})" if len(reasons) > 1 else ""
    return reasons[0] + more


def _model(report: Mapping[str, Any]) -> str:
    metrics = report["metrics"]
    money = ", ".join(f"{name.upper()} ${metrics[name]:,.0f}" for name in _MONEY)
    return (
        f"{report['candidate']}: {money}, R2 {metrics['r2_score']:.3f}, "
        f"MAPE {metrics['mape']:.1f} % on {report['rows']['test']:,} test rows "
        f"({_interval(report)})"
    )


def _interval(report: Mapping[str, Any]) -> str:
    interval = report["intervals"].get("rmse")
    if interval is None:
        return "too few groups of neighbours for an interval"
    low, high = (f"${interval[end]:,.0f}" for end in ("low", "high"))
    return f"RMSE between {low} and {high} at {report['confidence']:.0%}"


def _gate(summary: Mapping[str, Any]) -> str:
    verdict = summary["verdict"]
    if verdict is None:
        return "nothing to judge"
    if verdict["unchanged"]:
        return "this result is promoted already"
    checks = verdict["checks"]
    if verdict["passed"]:
        return f"passed: {len(checks)} checks"
    return "rejected: " + " ".join(c["sentence"] for c in checks if not c["passed"])

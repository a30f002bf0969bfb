"""The verdict as data: made once, kept in MLflow, passed by XCom, shown as a table."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field

from housing.domain.columns import Frozen

Contest = Literal["first", "same", "refresh", "improvement"]
"""What the challenger is to the model in the alias: the first one, the same model once more, a
refresh on new data, or a change on the same data."""


class Check(Frozen):
    """One question the gate asked, and the answer.

    Attributes:
        name: Stable name of the check, in snake case.
        passed: Whether the answer allows a promotion.
        value: What was found; None where nothing could be.
        limit: What is allowed or expected; None where there is no such value.
        sentence: The answer for people, with its units.
    """

    name: str
    passed: bool
    value: float | str | None
    limit: float | str | None
    sentence: str


class Verdict(Frozen):
    """What the gate says about one result of the pipeline.

    Attributes:
        result: Fingerprint of the result.
        run_id: Its MLflow run.
        passed: Whether every check passed.
        unchanged: Whether the alias already points to this result, so that there is nothing to
            promote; no check was made then.
        alias: The alias that a promotion moves.
        against: Version in that alias when the verdict was made, or None where it had none.
        champion: The same of the champion's alias, where a promotion moves that too; else None.
        contest: What the challenger is to that version.
        limits: Digest of the limits that were applied.
        bundle: Digest of all files of the logged model, SHA-256.
        metrics: The challenger's test metrics, recomputed from its predictions.
        rival_metrics: The same of the model in the alias, on its own test rows.
        checks: Every check, in the order they were made.
    """

    result: str
    run_id: str
    passed: bool
    unchanged: bool = False
    alias: str = ""
    against: str | None = None
    champion: str | None = None
    contest: Contest = "first"
    limits: str = ""
    bundle: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    rival_metrics: dict[str, float] = Field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences of the checks that failed."""
        return tuple(check.sentence for check in self.checks if not check.passed)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain JSON data, for XCom and MLflow."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, content: object) -> Self:
        """Reads what `to_dict` wrote."""
        return cls.model_validate(content)


def render(verdict: Verdict) -> str:
    """Draws the verdict as a table of plain text, for a task's log.

    Args:
        verdict: What the gate said.

    Returns:
        Lines without a newline at the end.
    """
    if verdict.unchanged:
        return f"gate: unchanged, {verdict.alias} already holds result {verdict.result}"
    state = "passed" if verdict.passed else "FAILED"
    against = f"version {verdict.against}" if verdict.against else "no model yet"
    head = f"gate: {state} ({verdict.contest}; {verdict.alias} holds {against})"
    rows = [("check", "", "value", "limit", "")]
    rows += [
        (
            check.name,
            "ok" if check.passed else "FAIL",
            _cell(check.value),
            _cell(check.limit),
            check.sentence,
        )
        for check in verdict.checks
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]
    return "\n".join([head, *(line.rstrip() for line in lines)])


def _cell(value: float | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value if len(value) <= 16 else f"{value[:15]}…"  # noqa: PLR2004 - a column's width
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"  # noqa: PLR2004 - layout

"""What a whole run did, as one record. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from housing.engine.execution.stage_result import StageResult


@dataclass(frozen=True)
class StageLine:
    """One stage in the summary.

    Attributes:
        stage: Name of the stage, as DVC addresses it.
        state: ``ran``, ``restored``, ``unchanged``, ``left out``, or Airflow's state of a task that
            did not get that far: ``failed``, ``upstream_failed``.
        seconds: What the task took of DVC's time.
        saved_seconds: What the cache saved.
        reasons: Why the stage was out of date.
    """

    stage: str
    state: str
    seconds: float = 0.0
    saved_seconds: float = 0.0
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, stage: str, task_state: str, record: Mapping[str, Any] | None) -> StageLine:
        """The line of a stage.

        Args:
            stage: Name of the stage.
            task_state: Airflow's state of its task.
            record: What the task left in XCom, see `StageResult`.
        """
        if task_state not in {"success", "skipped"}:
            return cls(stage, task_state)
        if record is None:
            return cls(stage, "left out")
        done = StageResult.from_dict(dict(record))
        reasons = tuple(str(reason) for reason in done.reasons)
        return cls(stage, done.state, done.seconds, done.saved_seconds, reasons)


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        dag_id: The DAG.
        run_id: The run.
        ended: When this was written, in ISO format.
        stages: One line a stage, in the graph's order.
        failures: Message of each failed task, by task id.
        verdict: The gate's verdict, or None where there was nothing to judge.
        promotion: The promotion, or None where there was none.
        overrides: The run's parameter overrides.
        data: What became of the deliveries, in sentences.
        link: Where a browser sees the run in Airflow's UI.
        words: What the command of a failed stage said itself, by task id.
    """

    dag_id: str
    run_id: str
    ended: str
    stages: tuple[StageLine, ...]
    failures: Mapping[str, str]
    verdict: Mapping[str, Any] | None
    promotion: Mapping[str, Any] | None
    overrides: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    link: str = ""
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Number of stages by state."""
        return dict(Counter(line.state for line in self.stages))

    @property
    def saved_minutes(self) -> float:
        """What the cache saved, in minutes."""
        return round(sum(line.saved_seconds for line in self.stages) / 60, 2)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values."""
        state = "failed" if self.failures else "success"
        return {
            "state": state,
            "counts": self.counts,
            "saved_minutes": self.saved_minutes,
            **asdict(self),
            "stages": [asdict(line) | {"reasons": list(line.reasons)} for line in self.stages],
            "overrides": list(self.overrides),
            "data": list(self.data),
        }

    def lines(self) -> list[str]:
        """The summary as lines of text."""
        width = max((len(line.stage) for line in self.stages), default=0)
        return [
            ", ".join(f"{count} {state}" for state, count in self.counts.items())
            + f"; the cache saved {self.saved_minutes} minutes",
            *(
                f"  {line.stage:<{width}}  {line.state:<15}  {line.seconds:7.2f} s"
                for line in self.stages
            ),
            *(f"  {task} failed: {message}" for task, message in self.failures.items()),
            *(f"  data: {sentence}" for sentence in self.data),
            f"  gate: {self._gate()}",
        ]

    def _gate(self) -> str:
        if self.verdict is None:
            return "nothing to judge"
        if self.promotion is not None:
            return f"passed; version {self.promotion['version']} is {self.promotion['alias']}"
        if self.verdict["unchanged"]:
            return "this result is promoted already"
        return "passed, not promoted" if self.verdict["passed"] else "rejected"

"""What people are told when a run goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alert:
    """Why somebody should look at a run.

    Attributes:
        dag_id: The DAG.
        run_id: The run.
        failures: Message of each failed task, by task id.
        reasons: Why the gate rejected the result; empty where it did not.
        link: Address of the run's log in the UI.
    """

    dag_id: str
    run_id: str
    failures: Mapping[str, str]
    reasons: tuple[str, ...]
    link: str

    def lines(self) -> list[str]:
        """The alert as lines of text."""
        return [
            f"{self.dag_id}, run {self.run_id}:",
            *(f"  task {task} failed: {message}" for task, message in self.failures.items()),
            *(f"  the gate rejected the model: {reason}" for reason in self.reasons),
            f"  {self.link}",
        ]


def send(alert: Alert) -> None:
    """Tells people: in the task's log."""
    for line in alert.lines():
        log.error("%s", line)

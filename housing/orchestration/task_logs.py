"""The logs of tasks, where this machine can see them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from airflow.sdk.configuration import conf

from housing.messages import LOG_LINES

ERROR = "error: "
"""How a stage's script begins the line that says what is wrong."""


def last_lines(dag_id: str, run_id: str, task_id: str) -> str:
    """The end of the log of a task's last try, or "" where this machine does not have it.

    The worker that wrote the log masked the secrets in it.

    Args:
        dag_id: The DAG.
        run_id: Its run.
        task_id: The task.
    """
    return "\n".join(_events(dag_id, run_id, task_id)[-LOG_LINES:])


def own_words(dag_id: str, run_id: str, task_id: str) -> str:
    """What a stage's command said of its failure: its last ``error: ...``, and what to do next.

    Args:
        dag_id: The DAG.
        run_id: Its run.
        task_id: The task.

    Returns:
        The lines, or "" where there are none, or this machine does not have the log.
    """
    events = _events(dag_id, run_id, task_id)
    begins = [number for number, event in enumerate(events) if event.startswith(ERROR)]
    if not begins:
        return ""
    first, *rest = events[begins[-1] :]
    more = itertools.takewhile(lambda event: event.startswith(" "), rest)
    return "\n".join([first.removeprefix(ERROR), *more])


def _events(dag_id: str, run_id: str, task_id: str) -> list[str]:
    folder = Path(conf.get("logging", "base_log_folder"))
    folder = folder / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    tries = sorted(folder.glob("attempt=*.log"), key=lambda path: path.stat().st_mtime)
    if not tries:
        return []
    lines = tries[-1].read_text(encoding="utf-8", errors="replace").splitlines()
    return [_event(line) for line in lines]


def _event(line: str) -> str:
    """Airflow writes a JSON object a line; a line that a crash cut off is shown as it is."""
    try:
        content = json.loads(line)
    except json.JSONDecodeError:
        return line
    return str(content.get("event", line)) if isinstance(content, dict) else line

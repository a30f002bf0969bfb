"""The runs of the DAG on the page: a block of JSON that the page's script draws.

A run that found nothing to do changes nothing else on the page, so that its last task replaces this
block alone, in milliseconds: making the whole page takes seconds of imports. Imports nothing heavy.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from housing.dashboard import page_file
from housing.engine.files import write_whole
from housing.settings import RUNS

BEGIN = '<script type="application/json" id="runs">'
END = "</script>"

SHOWN = 12
"""Runs on the page."""

_MOST = 1000
"""Summaries that stay in the project's folder."""
_YOUNG = 86_400.0
"""Seconds: a summary that was written in this time stays in any case."""

_logger = logging.getLogger(__name__)

Row = dict[str, Any]


def shown(summary: Mapping[str, Any]) -> Row:
    """What the page shows of a run.

    Args:
        summary: See `housing.orchestration.run_summary.Summary`.

    Raises:
        KeyError: It is no summary; or a TypeError, or an AttributeError.
    """
    link, words = summary.get("link", ""), summary.get("words", {})
    return {
        "run": summary["run_id"],
        "ended": summary["ended"],
        "state": summary["state"],
        "link": link,
        "stages": [
            {
                "stage": line["stage"],
                "state": line["state"],
                "seconds": round(line["seconds"], 2),
                "saved": round(line["saved_seconds"], 2),
            }
            for line in summary["stages"]
        ],
        "failures": [
            {
                "task": task,
                # A stage's own words say more than that its command failed.
                # HTML folds the line of what to do next into the one before it.
                "message": (words.get(task) or message).replace("\n  next: ", "; next: "),
                "link": f"{link}/tasks/{task}" if link else "",
            }
            for task, message in summary.get("failures", {}).items()
        ],
    }


def block(runs: Sequence[Row]) -> str:
    """The block of the page, newest run first; no text in it can end it."""
    content = json.dumps(runs[:SHOWN], separators=(",", ":"))
    for letter, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        content = content.replace(letter, code)
    return f"{BEGIN}{content}{END}"


def takes_quiet_run(root: Path, run_id: str) -> bool:
    """Whether `add_quiet_run` can put a run that changed nothing onto the page.

    It cannot where there is no page yet, where that lacks the run before, whose task for the page
    failed, and where the run before failed otherwise: that is no news then.

    Args:
        root: The project's folder.
        run_id: The run.
    """
    return _parts(root, run_id) is not None


def add_quiet_run(root: Path, summary: Mapping[str, Any]) -> bool:
    """Puts a run that changed nothing onto the page that is there.

    Args:
        root: The project's folder.
        summary: Of the run.

    Returns:
        Whether the page is up to date now. It is not where the run did something, and where the
        page is none for it, see `takes_quiet_run`.
    """
    verdict = summary["verdict"]
    quiet = summary["state"] == "success" and (verdict is None or verdict["unchanged"])
    quiet &= all(line["state"] in {"unchanged", "left out"} for line in summary["stages"])
    parts = _parts(root, summary["run_id"]) if quiet else None
    if parts is None:
        return False
    before, known, after = parts
    others = [run for run in known if run["run"] != summary["run_id"]]
    write_whole(page_file(root), f"{before}{block([shown(summary), *others])}{after}")
    return True


def summary_files(root: Path) -> list[Path]:
    """The summaries of the runs, that of the run that ended last at the end.

    Args:
        root: The project's folder.
    """
    ends = {}
    for file in (root / RUNS).glob("*.json"):
        with suppress(FileNotFoundError):  # the end of another run removed it
            ends[file] = file.stat().st_mtime
    return sorted(ends, key=ends.__getitem__)


def remove_oldest(root: Path) -> None:
    """Removes old summaries beyond the newest 1,000, for the end of each run looks at all of them.

    What cannot be removed is told in the log, and fails no run.

    Args:
        root: The project's folder.
    """
    now = time.time()
    for file in summary_files(root)[:-_MOST]:
        try:
            # A clock that was set back makes a summary of now the oldest one.
            if abs(now - file.stat().st_mtime) > _YOUNG:
                file.unlink()
        except FileNotFoundError:
            continue  # the end of another run removed it
        except OSError as error:
            _logger.warning("an old summary stays: %s", error)


def _parts(root: Path, run_id: str) -> tuple[str, list[Row], str] | None:
    """What stands before the block, its runs, and what stands after it."""
    others = [file for file in summary_files(root) if file.stem != run_id]
    try:
        before, begin, rest = page_file(root).read_text(encoding="utf-8").partition(BEGIN)
        content, end, after = rest.partition(END)
        if not (begin and end):
            return None
        known: list[Row] = json.loads(content)
        if others and (
            others[-1].stem not in {run["run"] for run in known}
            # It was cleared, perhaps, and the page shows how it ended before.
            or json.loads(others[-1].read_bytes())["state"] != "success"
        ):
            return None
        return (before, known, after) if known[0]["state"] == "success" else None
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None  # no page, or a damaged one: it has to be made anew

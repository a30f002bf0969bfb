"""What a stage notes about its last run beside DVC's temporary files: its duration and its links.

These notes are never outs, because outs must be pure functions of deps and params.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from housing.engine.files import write_whole
from housing.engine.root import dvc_root

_log = logging.getLogger(__name__)

DURATIONS = Path(".dvc/tmp/housing/durations")
"""Folder, below DVC's root, of one JSON file a stage: ``{"seconds": how long it last ran}``."""

LINKS = Path(".dvc/tmp/housing/links")
"""Folder, below DVC's root, of one JSON file a stage: an address by the name of the link."""


def note_duration(root: Path, stage: str, seconds: float) -> None:
    """Notes how long a stage took when it last ran.

    Args:
        root: DVC's root folder.
        stage: Name of the stage, as DVC addresses it.
        seconds: How long its command took.
    """
    _note(duration_file(root, stage), {"seconds": round(seconds, 3)})


def last_duration(root: Path, stage: str) -> float | None:
    """How long a stage took when it last ran, in seconds, or None where nobody noted it."""
    seconds = _noted(duration_file(root, stage)).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def duration_file(root: Path, stage: str) -> Path:
    """The file that notes a stage's duration."""
    return root / DURATIONS / _file_name(stage)


def note_links(links: Mapping[str, str]) -> None:
    """Notes where the work of the running stage can be seen: its task shows the links.

    Args:
        links: Address by the name of the link. Outside DVC nothing is noted.
    """
    root = dvc_root()
    if root:
        _note(root / LINKS / _file_name(os.environ["DVC_STAGE"]), links)


def last_links(root: Path, stage: str) -> dict[str, str]:
    """What a stage noted by `note_links` when it last ran."""
    return _noted(root / LINKS / _file_name(stage))


def _note(path: Path, content: Mapping[str, object]) -> None:
    try:
        write_whole(path, json.dumps(content))
    except OSError as error:  # the stage's own results are there: a note less does not spoil them
        _log.warning("a note about the stage is missing: %s", error)


def _noted(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        _log.warning("%s is broken and left out; the stage's next run writes it anew", path)
        return {}
    return content


def _file_name(stage: str) -> str:
    return f"{stage.replace('/', '~').replace(':', '~')}.json"

"""What every script in ``stages/`` shares: parameters in; an exit code, duration and links out."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from housing.domain.config import Params, load_params
from housing.engine.files import write_whole
from housing.errors import HousingError
from housing.root import dvc_root

_log = logging.getLogger(__name__)

DURATIONS = Path(".dvc/tmp/housing/durations")
"""Folder, below DVC's root, of one JSON file a stage: ``{"seconds": how long it last ran}``."""


LINKS = Path(".dvc/tmp/housing/links")
"""Folder, below DVC's root, of one JSON file a stage: an address by the name of the link."""


def run(body: Callable[[Params], None]) -> None:
    """Runs the body of a stage's script in DVC's working directory.

    A known error ends the process with exit code 1 and its message, without a traceback; any
    other error keeps its traceback. How long the stage took is noted beside DVC's own temporary
    files, never in an output: outputs stay pure functions of deps and params.

    Args:
        body: Reads the stage's inputs and writes its outputs.
    """
    start = time.monotonic()
    try:
        body(load_params(Path("params.yaml")))
    except HousingError as error:
        sys.exit(f"error: {error}")
    root = dvc_root()
    if root:
        note_duration(root, os.environ["DVC_STAGE"], time.monotonic() - start)


def say(*lines: str) -> None:
    """Prints what the stage did, for whoever reads its log."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


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

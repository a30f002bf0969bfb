"""Runs git, and tells a push that came too late from other failures."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

_BEHIND = re.compile(r"\[rejected\]|cannot lock ref|failed to update ref|reference already exists")


def git(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs one git command, which never asks anybody for a password.

    Args:
        folder: Where it runs.
        arguments: Its words after ``git``.
        env: Further variables.
        given: Its standard input.

    Returns:
        The ended process, however it ended, with what it said.
    """
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **(env or {}), "GIT_TERMINAL_PROMPT": "0"},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def is_behind(said: str) -> bool:
    """Whether a push was refused because somebody else pushed meanwhile.

    Args:
        said: What git said.
    """
    return bool(_BEHIND.search(said))

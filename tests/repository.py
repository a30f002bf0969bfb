"""A DVC repository without the second that starting ``dvc init`` takes."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_repository(root: Path, *, git: bool = True) -> None:
    """Writes the files that ``dvc init`` writes, in a git repository or in a plain folder."""
    (root / ".dvc").mkdir(parents=True)
    scm = "" if git else "    no_scm = true\n"
    (root / ".dvc" / "config").write_text(f"[core]\n    analytics = false\n{scm}")
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    if git:
        subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)

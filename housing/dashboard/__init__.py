"""The monitoring page: one HTML file made from what MLflow holds, and nothing else."""

from __future__ import annotations

from pathlib import Path


def page_file(root: Path) -> Path:
    """The page's place in the project's folder.

    Args:
        root: The project's folder.
    """
    return root / ".housing" / "dashboard" / "index.html"

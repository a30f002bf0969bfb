"""The root folder of the DVC repository in which a stage's command runs."""

from __future__ import annotations

import os
from pathlib import Path


def dvc_root() -> Path | None:
    """DVC's root folder, for a process that DVC started as a stage's command.

    The nearest folder upward with a ``.dvc`` folder, not ``DVC_ROOT``: in the temporary copies of
    ``dvc exp run --temp`` and ``--queue``, that variable names the repository that started them.

    Returns:
        The root, or None outside a stage's command.
    """
    if "DVC_STAGE" not in os.environ:
        return None
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder
    return Path(os.environ["DVC_ROOT"])

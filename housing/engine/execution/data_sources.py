"""Data that ``dvc add`` or a frozen import tracks: saved before a stage reads it.

``dvc.lock`` names the data by its hash. Where neither the ``.dvc`` file nor the cache has what is
in the workspace, nobody could ever run the stage on the same data again.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from housing.engine.execution import recovery

if TYPE_CHECKING:
    from dvc.stage import Stage

_log = logging.getLogger("housing.engine.execution")


def save(root: Path, source: Stage, options: dict[str, Any]) -> Stage | None:
    """Saves changed data as ``dvc repro`` does: its hash in the ``.dvc`` file, itself in the cache.

    Args:
        root: DVC's root folder.
        source: The ``.dvc`` file, as loaded under DVC's lock.
        options: DVC's options for a run.

    Returns:
        The same, or None where the data has not changed.
    """
    # `source.changed()` asks the same, and writes DVC's rwlock twice for each file.
    if not source.changed_stage() and not any(out.status() for out in source.outs):
        return None
    _log.info("%s: its data changed and is saved", source.addressing)
    done: Stage | None = source.reproduce(**options | {"force": False})
    if done:
        with recovery.journal(root, Path(source.path)):
            source.dump(update_pipeline=False)
    return done

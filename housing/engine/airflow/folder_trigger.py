"""A folder that people drop files into, as a source of asset events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from stat import S_ISREG
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from housing.engine.airflow.compat import asset_state_store

SECONDS = 5.0
"""How often a folder is looked at."""
_TOLD = "told"


class FolderTrigger(BaseEventTrigger):
    """Tells of every change among the files of a folder: new, changed, or gone.

    A change is told once the folder looks the same twice, so that nobody is sent to a file that
    is still being copied. What was told is kept in Airflow's store of the asset: a file that comes
    while the triggerer is down is told when it is back, and nothing is told twice. Before Airflow
    3.3 there is no such store: when the triggerer starts, all files of the folder are told anew.

    Args:
        folder: The folder; hidden files in it do not count.
        seconds: How often to look.
    """

    def __init__(self, folder: str, seconds: float = SECONDS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow publishes no type of it
        self.folder = folder
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What Airflow needs to make this trigger again in the triggerer."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"folder": self.folder, "seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks at the folder again and again, until it is stopped.

        Yields:
            Names of the files that changed.
        """
        told = await self._recall()
        last: dict[str, str] | None = None
        while True:
            now = await asyncio.to_thread(listing, Path(self.folder))
            if now == last and now != told:
                names = {name for name, _ in now.items() ^ told.items()}
                payload = {"folder": self.folder, "files": sorted(names)}
                yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # as above
                told = now
                await self._remember(told)
            last = now
            await asyncio.sleep(self.seconds)

    async def _recall(self) -> dict[str, str]:
        store = asset_state_store(self)
        if store is None:
            return {}
        found = await store.aget(_TOLD, "{}")
        told: dict[str, str] = json.loads(str(found))
        return told

    async def _remember(self, told: dict[str, str]) -> None:
        store = asset_state_store(self)
        if store is not None:
            await store.aset(_TOLD, json.dumps(told))


def listing(folder: Path) -> dict[str, str]:
    """Size in bytes and time of change in nanoseconds of each visible file, by name."""
    found = {}
    for path in folder.glob("[!.]*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # gone between the two calls
        if S_ISREG(status.st_mode):
            found[path.name] = f"{status.st_size} {status.st_mtime_ns}"
    return found

"""A watched folder: what is told, when, and that nothing is told twice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.triggers.base import TriggerEvent

from housing.engine.airflow.folder_trigger import FolderTrigger


class Store:
    """Airflow's store of an asset: it outlives the triggerer."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def aget(self, key: str, default: object = None) -> object:
        return self.kept.get(key, default)

    async def aset(self, key: str, value: object) -> None:
        self.kept[key] = value


def events(folder: Path, store: Store | None, *changes: Callable[[], object]) -> list[list[str]]:
    """Names told after each change, by one triggerer; the last look finds nothing new."""

    async def watch() -> list[list[str]]:
        trigger = FolderTrigger(str(folder), seconds=0.01)
        trigger.asset_state_store = store  # type: ignore[assignment]  # the part that is used
        run = trigger.run()
        told = []
        for change in changes:
            change()
            told.append(names(await asyncio.wait_for(anext(run), 30)))
        try:
            told.append(names(await asyncio.wait_for(anext(run), 0.3)))
        except TimeoutError:
            return told
        return told

    return asyncio.run(watch())


def names(event: TriggerEvent) -> list[str]:
    payload: dict[str, Any] = event.payload
    return list(payload["files"])


def test_new_changed_and_removed_files_are_told_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "folder").mkdir()
    assert events(
        tmp_path,
        Store(),
        lambda: (one.write_text("1"), two.write_text("2")),
        lambda: two.write_text("22"),
        one.unlink,
    ) == [["one.csv", "two.csv"], ["two.csv"], ["one.csv"]]


def test_a_restarted_triggerer_tells_what_came_meanwhile_and_nothing_else(tmp_path: Path) -> None:
    store, one, two = Store(), tmp_path / "one.csv", tmp_path / "two.csv"
    assert events(tmp_path, store, lambda: one.write_text("1")) == [["one.csv"]]
    assert events(tmp_path, store) == []
    assert events(tmp_path, store, lambda: two.write_text("2")) == [["two.csv"]]


def test_a_file_that_still_grows_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "grows.csv"

    async def watch() -> list[str]:
        trigger = FolderTrigger(str(tmp_path), seconds=0.05)
        run = trigger.run()
        first = asyncio.ensure_future(anext(run))
        for size in range(1, 40):
            file.write_text("x" * size)
            os.utime(file, (size, size))
            await asyncio.sleep(0.01)
            assert not first.done()
        return names(await first)

    assert asyncio.run(watch()) == ["grows.csv"]


def test_a_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "later"

    def come() -> None:
        folder.mkdir()
        (folder / "a.csv").touch()

    assert events(folder, Store(), come) == [["a.csv"]]


def test_the_triggerer_can_make_it_again() -> None:
    path, arguments = FolderTrigger("/landing", seconds=2.0).serialize()
    assert path == "housing.engine.airflow.folder_trigger.FolderTrigger"
    assert FolderTrigger(**arguments).serialize() == (path, arguments)

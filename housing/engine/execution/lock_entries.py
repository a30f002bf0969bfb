"""Entries of ``dvc.lock`` on their way between workers, as text in DVC's own form."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc.stage import PipelineStage
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils import serialize

from housing.engine.errors import EngineError
from housing.engine.execution import lock_text
from housing.engine.execution.reasons import noted_in
from housing.engine.files import write_whole
from housing.engine.graph import StageNode

_log = logging.getLogger("housing.engine.execution")

_yaml: Any = serialize  # it has no types


def entry_of(stage: Any) -> str:  # noqa: ANN401 - DVC publishes no types
    """The entry of a stage as it was just saved, or found unchanged.

    Args:
        stage: DVC's stage.

    Returns:
        The entry as YAML, some 300 bytes a stage.
    """
    text: str = _yaml.dumps_yaml(to_single_stage_lockfile(stage))
    return text


def note(stage: Any) -> None:  # noqa: ANN401 - DVC publishes no types
    """Writes what a stage has just read and written, in place, as DVC's ``stage.dump`` does.

    Args:
        stage: DVC's stage.
    """
    if not isinstance(stage, PipelineStage):
        stage.dump(update_pipeline=False)
        return
    path = noted_in(stage)
    text = _text(path)
    new = lock_text.put(text, {str(stage.name): to_single_stage_lockfile(stage)})
    path.write_text(new, encoding="utf-8")
    if new != text:
        stage.repo.scm_context.track_file(os.path.relpath(path))


def place_of(stage: StageNode) -> tuple[str, str]:
    """Where the entry of a stage stands.

    Args:
        stage: The stage.

    Returns:
        The ``dvc.lock``, relative to the root, and the key in it.
    """
    return str(Path(stage.file).with_name("dvc.lock")), stage.name.removeprefix(f"{stage.file}:")


def merge(root: Path, entries: Mapping[tuple[str, str], str]) -> list[str]:
    """Writes entries into the ``dvc.lock`` files, whole or not at all.

    Args:
        root: DVC's root folder, whose lock the caller holds.
        entries: YAML of the entries, by their place (`place_of`).

    Returns:
        The keys of the entries that were not as they are now.

    Raises:
        EngineError: An entry is none.
    """
    changed = []
    by_file: dict[str, dict[str, Any]] = {}
    for (file, key), text in entries.items():
        by_file.setdefault(file, {})[key] = load(text, key)
    for file, new in by_file.items():
        path = root / file
        text = _text(path)
        known = parse(text, str(path))
        keys = [key for key, content in new.items() if known.get(key) != content]
        if keys:
            write_whole(path, lock_text.put(text, {key: new[key] for key in keys}))
            _log.info("%s: took %s from other tasks of the run", file, ", ".join(keys))
        changed += keys
    return changed


def read(path: Path) -> dict[str, Any]:
    """The entries of a ``dvc.lock`` as they stand, or none where there is no such file.

    Args:
        path: The file.
    """
    return parse(_text(path), str(path))


def parse(text: str, name: str) -> dict[str, Any]:
    """The entries of a ``dvc.lock``.

    Args:
        text: Its content, perhaps empty.
        name: What to call it in an error.
    """
    content: dict[str, Any] = _yaml.parse_yaml(text, name)
    return dict(content.get("stages") or {})


def load(text: str, key: str) -> dict[str, Any]:
    """An entry that came as text.

    Args:
        text: Its YAML.
        key: The stage's key, for the error.

    Raises:
        EngineError: It is none.
    """
    content = _yaml.loads_yaml(text)
    if not isinstance(content, dict) or "cmd" not in content:
        raise EngineError(f"what another task sent is no entry of {key} in dvc.lock: {text!r}")
    return content


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""

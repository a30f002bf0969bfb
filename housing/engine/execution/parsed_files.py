"""What DVC read from ``dvc.yaml`` and ``dvc.lock``, kept for the tasks after this one.

The task of each stage reads both files whole. Where they have hundreds of stages, to parse and
check them takes longer than all else that an unchanged stage needs. What DVC made of a file is kept
by the hash of the file's text and of itself, so it counts for exactly this text and this version of
DVC, and not once a bit of it has changed.

Params files are kept as long as the process lives: DVC parses one anew for each stage and each time
that it looks at it, some seven times where a stage runs.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from dvc.dvcfile import FileMixin, Lockfile, ProjectFile
from dvc.utils.serialize import _yaml
from dvc.version import __version__ as dvc_version  # type: ignore[attr-defined]  # no types

from housing.engine.execution.sealed import seal, unseal
from housing.engine.files import write_whole

_FOLDER: Final = "housing/parsed"
"""Below DVC's folder for temporary files: a file for each ``dvc.yaml`` and ``dvc.lock``."""
_log = logging.getLogger("housing.engine.execution")
_by_dvc: Any = FileMixin._load_yaml
_parse_by_dvc: Any = _yaml.parse_yaml


def use() -> None:
    """Lets this process read these files by what was kept of them."""
    files: tuple[Any, ...] = (ProjectFile, Lockfile)  # they have no types
    for file in files:
        file._load_yaml = _load
    module: Any = _yaml
    module.parse_yaml = _parse


def _parse(text: str, path: str, typ: str = "safe") -> Any:  # noqa: ANN401 - what stands in the file
    """As `dvc.utils.serialize._yaml.parse_yaml`; nobody else sees what the caller changes in it."""
    return copy.deepcopy(_parsed(text, path, typ))


@functools.cache
def _parsed(text: str, path: str, typ: str) -> Any:  # noqa: ANN401 - as above
    return _parse_by_dvc(text, path, typ)


def _load(file: Any, **kwargs: Any) -> tuple[Any, str]:  # noqa: ANN401 - DVC's file and its content
    """As `FileMixin._load_yaml`: the content and its text."""
    if kwargs or not file.repo.tmp_dir:  # to be written again, with its comments; or no folder
        read: tuple[Any, str] = _by_dvc(file, **kwargs)
        return read
    name = blake2b(os.fsencode(file.path), digest_size=16).hexdigest()
    kept = Path(file.repo.tmp_dir, _FOLDER, f"{name}.json")
    try:
        with file.repo.fs.open(file.path, encoding="utf-8") as opened:
            text = opened.read()
        written = unseal(kept.read_text(encoding="utf-8"), *_counts_for(file, text))
        if written is not None:
            return json.loads(written), text
    except (OSError, ValueError) as error:
        # Nothing is kept yet, or DVC says better than this what is wrong with its file.
        _log.debug("nothing is kept of %s: %s", file.path, error)
    content, text = _by_dvc(file)
    _keep(kept, file, text, content)
    return content, text


def _keep(kept: Path, file: Any, text: str, content: object) -> None:  # noqa: ANN401 - DVC's file
    try:
        written = json.dumps(content)
        # JSON knows neither dates nor keys that are numbers.
        if repr(json.loads(written)) == repr(content):
            write_whole(kept, seal(written, *_counts_for(file, text)))
    except (OSError, TypeError, ValueError) as error:
        _log.debug("what was read is not kept in %s: %s", kept, error)


def _counts_for(file: Any, text: str) -> tuple[str, ...]:  # noqa: ANN401 - DVC's file
    return dvc_version, type(file).__name__, text

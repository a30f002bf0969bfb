"""DVC's part in the copy of a project that a run with overrides works in.

All of it happens in this process: each of DVC's commands takes most of a second to start, and a
copy would need five of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.config import Config
from dvc.exceptions import DvcException

from housing.engine.errors import OptionsError
from housing.engine.execution.locks import open_repo


def share_cache(project: Path, copy: Path) -> None:
    """Lets the copy use the project's cache and remotes, and keeps it out of git's sight.

    Args:
        project: DVC's root folder of the project.
        copy: That of the copy, which has the project's own ``.dvc/config``.

    Raises:
        OptionsError: DVC cannot read or write its configuration.
    """
    try:
        ours = Config(str(project / ".dvc"))
        cache = ours["cache"].get("dir", project / ".dvc" / "cache")
        with Config(str(copy / ".dvc"), validate=False).edit("local") as local:
            local["core"]["no_scm"] = "true"
            local["cache"]["dir"] = str((project / cache).resolve())
            for name, remote in ours["remote"].items():
                # DVC has made every path absolute; a plain text stays so where it is written.
                if Path(remote.get("url", "")).is_absolute():
                    local["remote"].setdefault(name, {})["url"] = str(remote["url"])
    except DvcException as error:
        raise OptionsError(f"{copy} cannot use the cache: {error}", "dvc doctor") from error


def check_out(copy: Path) -> None:
    """Lays what the cache has of the copy's outs into it; what the cache lacks is left out.

    Args:
        copy: DVC's root folder of the copy.

    Raises:
        OptionsError: DVC cannot write them.
    """
    try:
        with _quiet(), open_repo(copy, _wait) as repo:
            repo.checkout(allow_missing=True)
    except DvcException as error:
        raise OptionsError(f"{copy} cannot get its outs: {error}", "dvc doctor") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps out of the task's log that an out was never made: its stage says so when it runs."""
    log = logging.getLogger("dvc_data")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _wait() -> None:
    """Waits for DVC's lock without a limit: nobody else works in a copy that is not made yet."""

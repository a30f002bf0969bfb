"""Refuses deps that DVC cannot hash: it hangs on a pipe, and says "[Errno 2]" of a broken link."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from housing.engine.errors import StageFailedError

if TYPE_CHECKING:
    from dvc.repo import Repo


def require_readable(repo: Repo, stage: str, deps: Iterable[str]) -> None:
    """Looks at the kind of every file of the deps before DVC opens it.

    Args:
        repo: DVC's repository; what it ignores is left alone.
        stage: The stage, for the message.
        deps: Paths below the repository's root. One that is missing is left to DVC.

    Raises:
        StageFailedError: There is a link to nothing, a pipe, a socket, or a name that is not
            UTF-8; all of them are named.
    """
    odd = [
        f"{entry.encode('utf-8', 'backslashreplace').decode()} {what}"
        for dep in deps
        for entry in _entries(Path(repo.root_dir) / dep)
        if (what := _oddity(entry)) and not repo.dvcignore.is_ignored_file(entry)
    ]
    if odd:
        raise StageFailedError(
            f"nobody can read what lies among the deps of {stage}: {'; '.join(odd)}",
            "take it away, or give it another name",
        )


def _entries(path: Path) -> Iterator[str]:
    if path.is_dir():
        for folder, _, files in os.walk(path):
            yield from (os.path.join(folder, name) for name in files)  # noqa: PTH118 - fast
    elif path.is_symlink() or path.exists():
        yield str(path)


def _oddity(path: str) -> str:
    """What is wrong with an entry, or "" where nothing is."""
    try:
        path.encode()
        mode = os.stat(path).st_mode  # noqa: PTH116 - fast
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    except OSError as error:
        return "is a link that leads nowhere" if os.path.islink(path) else str(error)  # noqa: PTH114
    return "" if S_ISREG(mode) or S_ISDIR(mode) else "is neither a file nor a folder"

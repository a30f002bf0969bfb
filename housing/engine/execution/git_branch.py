"""Brings the ``dvc.lock`` entries of a run to a branch of a git repository, as one commit."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from housing.engine.errors import WriteBackError, fit_to_show
from housing.engine.execution import lock_entries, lock_text
from housing.engine.execution.git_command import git, is_behind

_log = logging.getLogger("housing.engine.execution")

PATIENCE = 60.0
"""Seconds to try again where the repository gives no answer, or somebody else pushes meanwhile."""

_PAUSE = 3.0
_REFUSED = re.compile(r"\[remote rejected\]|protected branch|pre-receive hook declined")


@dataclass(frozen=True)
class Branch:
    """A branch of a git repository.

    Attributes:
        url: The repository's address.
        name: The branch; where there is none it is made.
        start: The branch, tag or commit from which it is then made.
        folder: DVC's root folder in the repository, "" for its top.
        env: Variables for git, such as those of its login.
    """

    url: str
    name: str
    start: str
    folder: str
    env: Mapping[str, str]


@dataclass(frozen=True)
class Written:
    """What became of the entries of a run.

    Attributes:
        commit: The commit, or "" where the branch had all of it already.
        taken: The entries that it changes, by their keys.
        kept: The entries that the branch had changed itself since the run began, and keeps.
    """

    commit: str
    taken: tuple[str, ...]
    kept: tuple[str, ...]


def write(
    branch: Branch, base: Path, entries: Mapping[tuple[str, str], str], message: str
) -> Written:
    """Commits the entries of a run on top of the branch as it is, and pushes without force.

    Where the branch moved since the run began, each entry counts by itself: one that only the run
    changed is taken, one that only the branch changed stays, and so does one that both changed,
    which the next run then brings up to date.

    Args:
        branch: Where to.
        base: DVC's root folder at the revision of the run.
        entries: YAML of the entries, by file and key, see `lock_entries.place_of`.
        message: Of the commit.

    Raises:
        WriteBackError: git cannot be asked, or refuses.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with tempfile.TemporaryDirectory(prefix="housing-") as folder:
                return _write(_Clone(branch, Path(folder)), base, entries, message)
        except WriteBackError as error:
            if error.permanent or time.monotonic() > deadline:
                raise
            _log.warning("%s; tried again in %g s", error.fact, _PAUSE)
            time.sleep(0 if is_behind(error.fact) else _PAUSE)


def _write(
    clone: _Clone, base: Path, entries: Mapping[tuple[str, str], str], message: str
) -> Written:
    taken: list[str] = []
    kept: list[str] = []
    files = sorted({file for file, _ in entries})
    texts: dict[str, str] = {}
    for file in files:
        content = clone.read(file)
        before, now = lock_entries.read(base / file), lock_entries.parse(content, file)
        ours = {
            key: lock_entries.load(text, key)
            for (lock, key), text in entries.items()
            if lock == file
        }
        own = [key for key in ours if ours[key] not in (before.get(key), now.get(key))]
        free = [key for key in own if now.get(key) == before.get(key)]
        taken += free
        kept += [key for key in own if key not in free]
        if free:
            texts[file] = lock_text.put(content, {key: ours[key] for key in free})
    for key in kept:
        _log.warning("the branch has changed %s itself since the run began, and keeps that", key)
    if not texts:
        return Written("", (), tuple(kept))
    return Written(clone.commit(texts, message), tuple(taken), tuple(kept))


class _Clone:
    """A clone without a work tree, of the last commit of a branch."""

    def __init__(self, branch: Branch, folder: Path) -> None:
        self._branch = branch
        self._folder = folder
        known = self._git("ls-remote", "--heads", branch.url, f"refs/heads/{branch.name}")
        start = branch.name if known.strip() else branch.start
        self._git("init", "--quiet", "--bare")
        self._git("fetch", "--quiet", "--depth=1", branch.url, start)
        self._tip = self._git("rev-parse", "FETCH_HEAD").strip()

    def read(self, file: str) -> str:
        """The content of a file in DVC's root folder, or "" where there is none."""
        path = self._path(file)
        if not self._git("ls-tree", self._tip, "--", path).strip():
            return ""
        return self._git("show", f"{self._tip}:{path}")

    def commit(self, texts: Mapping[str, str], message: str) -> str:
        """Commits and pushes; returns the commit."""
        self._git("read-tree", self._tip)
        for file, text in texts.items():
            blob = self._git("hash-object", "-w", "--stdin", given=text).strip()
            entry = f"100644,{blob},{self._path(file)}"
            self._git("update-index", "--add", "--cacheinfo", entry)
        tree = self._git("write-tree").strip()
        commit = self._git("commit-tree", tree, "-p", self._tip, "-m", message).strip()
        self._git("push", "--quiet", self._branch.url, f"{commit}:refs/heads/{self._branch.name}")
        return commit

    def _path(self, file: str) -> str:
        return str(PurePosixPath(self._branch.folder) / file)

    def _git(self, *arguments: str, given: str | None = None) -> str:
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Airflow"), ("EMAIL", "airflow@localhost"))
        }
        env = {**who, **os.environ, **self._branch.env}
        done = git(self._folder, *arguments, env=env, given=given)
        if done.returncode:
            raise self._told(arguments[0], done.stderr)
        return done.stdout

    def _told(self, command: str, said: str) -> WriteBackError:
        url, name = fit_to_show(self._branch.url), self._branch.name
        fact = f"git {command} of branch {name} of {url} failed: {' '.join(said.split())}"
        if _REFUSED.search(said) and not is_behind(said):
            return WriteBackError(
                fact,
                f'let this login push to {name}, or write to another branch: write_back="BRANCH"',
                refused=True,
            )
        return WriteBackError(fact, f"git ls-remote {url}")

"""Moves the content of outs, and entries of the run cache, between DVC's cache and its remote.

Nothing here needs DVC's repository lock: objects are named by their content, and each is written
whole or not at all. So independent stages transfer at the same time.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from dvc_objects.fs.local import LocalFileSystem

from housing.engine.errors import EngineError, RemoteError, StageFailedError
from housing.engine.execution import cache_proof, reasons, remote_errors
from housing.engine.files import replacing, write_whole

if TYPE_CHECKING:
    from dvc.repo import Repo

_log = logging.getLogger("housing.engine.execution")

PATIENCE = 180.0
"""Seconds to try again where the remote gives no answer: a finished training is not lost."""

_PAUSE = 2.0
_LOGIN = 60.0
"""Seconds from a run's start in which its push uses the login of its fetch, and what the remote
said then. Later it logs in and asks anew: a command may take a day, in which a connection that is
not used dies, and somebody else may push."""

_PUSHED = Path(".dvc/tmp/housing/pushed")
"""Folder, below DVC's root, of one JSON file a stage: what it last pushed, and where to.

With it an unchanged stage asks the remote nothing, and one whose push failed is pushed later.
"""

T = TypeVar("T")


class Transfers:
    """The transfers of one run of a stage.

    Args:
        repo: DVC's repository.
        stage: The stage's name, for messages.
        give_up: Says before each new try whether the waiting should end, by raising.

    Attributes:
        fetched: Bytes that came from the remote.
        pushed: Bytes that went there.
    """

    def __init__(self, repo: Repo, stage: str, give_up: Callable[[], None]) -> None:
        self._repo = repo
        self._stage = stage
        self._give_up = give_up
        # DVC makes the remote's file system anew for each use of it, which logs in each time. Once
        # is enough, but after a failure and after a long command.
        self._remote = functools.cache(repo.cloud.get_remote)
        self._login_ends = time.monotonic() + _LOGIN
        repo.cloud.get_remote = lambda name=None, command="": self._remote(name)  # type: ignore[method-assign]  # noqa: ARG005 - DVC's signature
        # Keys that the remote's run cache did not know a moment ago: it need not be asked again.
        self._unknown: set[str] = set()
        self.fetched = 0
        self.pushed = 0

    def fetch(self, outs: Iterable[Any]) -> list[str]:
        """Brings the content of outs into DVC's cache.

        Args:
            outs: DVC's outs, of whatever stage; each with its hash.

        Returns:
            The paths of those whose content is neither in the cache nor in the remote.

        Raises:
            RemoteError: The remote did not answer, or lets this worker do nothing.
            EngineError: The remote's own copy is damaged.
        """
        wanted = [as_cached(out) for out in outs]
        self.fetch_lists(wanted)
        for odb, objects in self._objects(wanted).items():
            self._pull(odb, objects)
            again = self._damaged(objects)
            if again:
                self._pull(odb, again)
            if self._damaged(again):
                names = ", ".join(sorted(str(one.obj_name or one.value) for one in again))
                raise EngineError(
                    f"stage {self._stage}: damaged in the remote: {names}",
                    "where a good copy is (dvc status): remove the object from the remote, and "
                    "dvc push",
                )
        return [reasons.path_of(out) for out in wanted if out.changed_cache()]

    def fetch_lists(self, outs: Iterable[Any]) -> None:
        """Brings DVC's lists of the files in those outs that are folders, and no file.

        Args:
            outs: DVC's outs.

        Raises:
            RemoteError: See `fetch`.
        """
        lists = {
            out.hash_info for out in outs if out.is_dir_checksum and not as_cached(out).get_obj()
        }
        if lists:
            self._pull(None, lists)

    def push(self, root: Path, outs: Sequence[Any], *, whole: bool) -> None:
        """Takes the content of outs to the remote, where that does not have it yet.

        Args:
            root: DVC's root folder.
            outs: DVC's outs as they were saved.
            whole: All of them are in the workspace. Else what is not there is left out: whoever
                made it pushed it.

        Raises:
            RemoteError: See `fetch`.
            EngineError: An out is missing, the cache's copy of one is damaged, or it is not what
                was saved.
        """
        if time.monotonic() > self._login_ends:
            self._remote.cache_clear()
            self._unknown.clear()
        absent = [reasons.path_of(out) for out in outs if whole and not out.exists]
        if absent:
            raise EngineError(
                f"stage {self._stage}: gone since the stage wrote it: {', '.join(absent)}",
                f"run its task again; dvc repro --force --single-item {self._stage}",
            )
        for out in outs:
            if not out.can_push:
                _log.warning("%s is never pushed (push: false): only this worker has it", out)
        wanted = [as_cached(out) for out in outs if out.exists and out.can_push]
        remote = remote_errors.remote_of(self._repo)
        note = {"remote": remote.url, "outs": {str(o): o.hash_info.value for o in wanted}}
        kept = root / _PUSHED / quote(self._stage, safe="@")
        if not wanted or _read(kept) == note:
            return
        for out in wanted:
            if out.changed_cache():  # `cache: false`, or the cache lost it
                out.commit(relink=False)
        lost = [reasons.path_of(out) for out in wanted if out.changed_cache()]
        if lost:
            raise EngineError(
                f"stage {self._stage}: not what was saved, so not pushed: {', '.join(lost)}",
                f"dvc repro --force --single-item {self._stage}",
            )
        for odb, objects in self._objects(wanted).items():
            self._refuse_damaged(objects)
            self._push(odb, objects)
        write_whole(kept, json.dumps(note))

    def fetch_run(self, key: str) -> None:
        """Brings what DVC's run cache knows of runs with the same deps and command, and their outs.

        Args:
            key: The run cache's key of the stage with the deps of now.
        """
        folder = self._folder(key)
        if not (folder.is_dir() and any(folder.iterdir())):
            self._patiently(lambda: self._fetch_entries(key, folder))

    def _fetch_entries(self, key: str, folder: Path) -> None:
        found = self._runs(key)
        if found is None:
            return
        fs, there = found
        if not fs.exists(there):
            self._unknown.add(key)
            return
        for entry in fs.find(there):
            with replacing(folder / fs.name(entry)) as partial:
                fs.get_file(entry, str(partial))
            _log.info("the run cache of the remote knows stage %s with these deps", self._stage)

    def push_run(self, key: str) -> None:
        """Takes what the run cache knows of this very run to the remote.

        Args:
            key: See `fetch_run`.
        """
        folder = self._folder(key)
        if folder.is_dir():
            self._patiently(lambda: self._push_entries(key, folder))

    def _push_entries(self, key: str, folder: Path) -> None:
        found = self._runs(key)
        if found is None:
            return
        fs, there = found
        for entry in folder.iterdir():
            target = fs.join(there, entry.name)
            if entry.suffix == ".tmp" or (key not in self._unknown and fs.exists(target)):
                continue
            if isinstance(fs, LocalFileSystem):
                write_whole(Path(target), entry.read_bytes())
            else:
                fs.put_file(str(entry), target)

    def _folder(self, key: str) -> Path:
        cache: Any = self._repo.stage_cache
        return Path(cache._get_cache_dir(key))

    def _runs(self, key: str) -> tuple[Any, str] | None:
        """The remote's file system, and its folder of the run cache; none by HTTP, as in DVC."""
        odb = self._repo.cloud.get_remote_odb(None, "push", hash_name="md5-dos2unix")
        if odb.fs.protocol in ("http", "https"):
            return None
        return odb.fs, odb.fs.join(odb.path, "runs", key[:2], key)

    def _pull(self, odb: Any, objects: set[Any]) -> None:  # noqa: ANN401 - DVC publishes no types
        done = self._patiently(lambda: self._repo.cloud.pull(objects, odb=odb))
        self.fetched += self._size(done.transferred)

    def _push(self, odb: Any, objects: set[Any]) -> None:  # noqa: ANN401 - as above
        done = self._patiently(lambda: self._repo.cloud.push(objects, odb=odb))
        self.pushed += self._size(done.transferred)

    def _objects(self, outs: Iterable[Any]) -> dict[Any, set[Any]]:
        """The objects of outs, by the remote that an out names for itself, or None."""
        found: dict[Any, set[Any]] = {}
        for out in outs:
            for odb, objects in out.get_used_objs(force=True).items():
                found.setdefault(odb, set()).update(objects)
        return {odb: objects for odb, objects in found.items() if objects}

    def _damaged(self, objects: Iterable[Any]) -> set[Any]:
        return cache_proof.drop_damaged(self._repo, objects) if cache_proof.wanted() else set()

    def _refuse_damaged(self, objects: Iterable[Any]) -> None:
        damaged = self._damaged(objects)
        if damaged:
            names = ", ".join(sorted(str(one.obj_name or one.value) for one in damaged))
            raise EngineError(
                f"stage {self._stage}: damaged in the cache of {remote_errors.host()}, so not "
                f"pushed: {names}",
                "look at the disk (dmesg), then run the stage again",
            )

    def _size(self, objects: Iterable[Any]) -> int:
        paths = [Path(self._repo.cache.local.oid_to_path(one.value)) for one in objects]
        return sum(path.stat().st_size for path in paths if path.exists())

    def _patiently(self, action: Callable[[], T]) -> T:
        """Does something with the remote, again and again while that gives no answer."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with _causes() as causes:
                try:
                    done = action()
                except Exception as error:  # noqa: BLE001 - each remote's library raises its own
                    causes.append(error)
                else:
                    if not getattr(done, "failed", None):
                        return done
            cause = causes[-1] if causes else RuntimeError("some objects were not transferred")
            told = remote_errors.told_apart(cause, self._repo, self._stage)
            if told.permanent or not isinstance(told, RemoteError) or told.refused:
                raise told from cause
            if time.monotonic() > deadline:
                raise told from cause
            self._give_up()
            self._remote.cache_clear()
            _log.warning("%s; tried again in %g s", told.fact, _PAUSE)
            time.sleep(_PAUSE)


def as_cached(out: Any) -> Any:  # noqa: ANN401 - as above
    """A copy of an out with ``cache: true``, so that DVC transfers outs of ``cache: false``, too.

    Args:
        out: DVC's out.
    """
    twin = copy.copy(out)
    twin.use_cache = True
    return twin


def missing(stage: str, paths: Iterable[str]) -> StageFailedError:
    """The error for deps that are neither here nor in the remote.

    Args:
        stage: The stage's name.
        paths: The deps.
    """
    return StageFailedError(
        f"stage {stage} needs what is neither on {remote_errors.host()} nor in DVC's remote: "
        f"{', '.join(paths)}",
        "where they are: dvc push; where they are nowhere: run the stages that write them, forced",
    )


@contextlib.contextmanager
def _causes() -> Iterator[list[BaseException]]:
    """Why DVC's transfers failed: it writes that to its log, and raises nothing."""
    found: list[BaseException] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1]:
                found.append(record.exc_info[1])

    handler, log = Handler(), logging.getLogger("dvc_data.hashfile.transfer")
    propagates = log.propagate
    log.addHandler(handler)
    log.propagate = False  # a traceback for each object; the error says it once
    try:
        yield found
    finally:
        log.removeHandler(handler)
        log.propagate = propagates


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None

"""What DVC found unchanged, remembered by what the file system says of each file that it looked at.

To open DVC's repository and to look at a stage takes longer than all else that the task of an
unchanged stage does. So what DVC found is kept, with inode, size, mode and both times of change of
every file that its finding rests on: ``dvc.yaml``, DVC's config, deps, outs, and the objects of the
outs in DVC's cache; of params and of the stage's entry in ``dvc.lock``, which DVC reads each time,
with a hash. As long as all of these are the same, the finding holds. DVC itself trusts inode, size
and one of the times in place of the content of a dep or an out; the other time cannot be set by
hand, so this asks for more than DVC does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from dvc.config import Config
from dvc.dependency.db import AbstractDependency
from dvc.dependency.repo import RepoDependency
from dvc.version import __version__ as dvc_version  # type: ignore[attr-defined]  # no types

from housing.engine.execution import lock_entries, lock_text, recovery
from housing.engine.execution.sealed import seal, unseal
from housing.engine.execution.stage_result import DepResult, StageResult
from housing.engine.graph import manifest
from housing.engine.stage_notes import last_duration

if TYPE_CHECKING:
    from dvc.stage import Stage

    from housing.engine.graph import Graph, StageNode

_log = logging.getLogger("housing.engine.execution")

_FOLDER: Final = Path(".dvc/tmp/housing/unchanged")
_FORMAT: Final = 2
"""Another one makes what is kept void: of what is compared, and how."""
_MOST: Final = 5000
"""Files of one stage; where there are more, nothing is kept, and DVC looks at them."""
_COARSE: Final = 2_000_000_000
"""Longest tick, in ns, of a file system that stamps changes by whole seconds (FAT's)."""

Signature = tuple[int, ...] | None
"""Inode, size, mode, and both times of change in ns; None where there is no such file."""


class _Unsure(Exception):  # noqa: N818 - no fault, and nobody outside sees it
    """Something that a signature does not tell."""


def is_all_here(node: StageNode) -> bool:
    """Whether a look of DVC at the stage reads nothing but files here, and writes none.

    It saves data sources, and asks the storage of remote deps; at a frozen stage it does not look.
    """
    remote = any("://" in path for path in (*node.deps, *node.outs))
    return node.file.endswith(".yaml") and not (node.data_sources or node.frozen or remote)


class Look:
    """One look at a stage: by what was kept of the last one, or by DVC, which is kept then.

    Args:
        root: DVC's root folder, absolute.
        stages: The graph.
        node: The stage.
    """

    def __init__(self, root: Path, stages: Graph, node: StageNode) -> None:
        self._root = root
        self._sources = list(stages.sources)
        self._node = node
        self._file = root / _FOLDER / f"{quote(node.name, safe='@')}.json"
        self._settled = 0
        self._seen: dict[str, Signature] | None = None
        self._texts: dict[str, str | None] = {}
        self._entry: str | None = None

    def recall(self) -> tuple[StageResult, tuple[DepResult, ...]] | None:
        """What DVC found when it last looked, where no file changed since.

        Returns:
            The record of the stage and its deps; None where DVC has to look.
        """
        began = time.monotonic()
        try:
            if recovery.somebody_writes(self._root):
                return None  # DVC waits for it, where it is about to write what this stage reads
            text = unseal(self._file.read_text(encoding="utf-8"), *self._counts_for)
            content = json.loads(text) if text else None
            if not content or not self._holds(content):
                return None
        except (OSError, ValueError) as error:
            _log.debug("nothing is kept of stage %s: %s", self._node.name, error)
            return None
        record = replace(
            StageResult.from_dict(content["record"]),
            seconds=round(time.monotonic() - began, 3),
            saved_seconds=last_duration(self._root, self._node.name) or 0.0,
            host=socket.gethostname(),
        )
        return record, tuple(DepResult(**dep) for dep in content["deps"])

    def _holds(self, content: dict[str, Any]) -> bool:
        """Whether all that was kept is as it was."""
        if (content["sources"], content["entry"]) != (self._sources, self._hash_of_entry()):
            return False
        for path, known in content["texts"].items():
            if manifest.digest(Path(path)) != known:
                return False
        for path, known in content["files"].items():
            if _signature(path) != (tuple(known) if known else None):
                return False
        return True

    def begin(self) -> None:
        """Signs the files, before DVC reads any of them.

        What changes while DVC looks has another signature then than the one that is kept, so that
        DVC looks again the next time.
        """
        self._settled = manifest.settled()
        if not is_all_here(self._node):
            return
        node = self._node
        self._seen = {}
        params = {param.partition(":")[0] for param in node.params}
        self._texts = {str(self._root / it): manifest.digest(self._root / it) for it in params}
        self._entry = self._hash_of_entry()
        self._sign(self._paths((*params, *node.deps, *node.outs)))

    def _hash_of_entry(self) -> str | None:
        """Hash of what ``dvc.lock`` says of the stage; of all of it where DVC did not write it so.

        What the file says of another stage is for the task of that one to look at.
        """
        file, key = lock_entries.place_of(self._node)
        try:
            content = (self._root / file).read_bytes()
        except FileNotFoundError:
            return None
        text = content.decode("utf-8", "replace")
        own = lock_text.entry(text, key)
        return hashlib.sha256(content if own is None else own.encode()).hexdigest()

    def _paths(self, items: Collection[str]) -> Iterator[Path]:
        """All that decides what DVC finds of params, deps and outs; a path may come twice."""
        yield from (self._root / name for name in (*self._sources, *items))
        for folder in {folder for item in items for folder in (self._root / item).parents}:
            if folder.is_relative_to(self._root):
                yield folder / ".dvcignore"
                if folder != self._root:
                    if (folder / ".dvc").exists():  # another repository, which DVC leaves alone
                        raise _Unsure
                    yield folder / ".dvc"

    def at(self, stage: Stage) -> None:
        """Signs what only DVC's own stage knows: the objects in its cache.

        Args:
            stage: As DVC loaded it, before it compares anything.
        """
        if self._seen is None:
            return
        local = all(item.protocol == "local" for item in (*stage.deps, *stage.outs))
        other = any(isinstance(dep, AbstractDependency | RepoDependency) for dep in stage.deps)
        paths = {str(item.fs_path) for item in (*stage.deps, *stage.outs)}
        # Loaded from another dvc.yaml than the graph was.
        if not local or other or paths - self._seen.keys():
            self._seen = None
            return
        self._sign(_cached(stage))

    def keep(self, record: StageResult, deps: Iterable[DepResult]) -> None:
        """Keeps that DVC found the stage unchanged.

        Args:
            record: The record of the stage.
            deps: Its deps.
        """
        if self._seen is None:
            return
        if any(own and self._is_young(own[-1]) for own in self._seen.values()):
            return
        text = json.dumps(
            {
                "record": record.to_dict(),
                "deps": [asdict(dep) for dep in deps],
                "sources": self._sources,
                "entry": self._entry,
                "texts": self._texts,
                "files": self._seen,
            }
        )
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Half of it is worth nothing, and no harm: so the disk is not waited for.
            self._file.write_text(seal(text, *self._counts_for), encoding="utf-8")
        except OSError as error:  # DVC looks again the next time
            _log.debug("what was found is not kept: %s", error)

    def _is_young(self, changed: int) -> bool:
        """Whether a file may change once more with the same time stamp.

        Args:
            changed: The time of change that nobody can set, in ns.
        """
        is_coarse = changed % 1_000_000_000 == 0
        return changed >= self._settled - (_COARSE if is_coarse else 0)

    @property
    def _counts_for(self) -> tuple[object, ...]:
        """This stage, in this folder, this DVC and its config, and this form of a record.

        Which files DVC's config comes from is the environment's choice.
        """
        levels = ("global", "system")
        config = [Config.get_dir(level) for level in levels]  # type: ignore[no-untyped-call]  # DVC's
        form = [*StageResult.__dataclass_fields__, *DepResult.__dataclass_fields__]
        return _FORMAT, dvc_version, config, form, str(self._root), self._node.name

    def _sign(self, paths: Iterable[Path]) -> None:
        try:
            for path in paths:
                self._add(str(path))
        except (_Unsure, OSError) as error:
            _log.debug("stage %s has what no signature tells: %s", self._node.name, error)
            self._seen = None

    def _add(self, path: str) -> None:
        """Signs a file, or a folder with all that is in it."""
        assert self._seen is not None  # noqa: S101 - its callers have looked
        if len(self._seen) >= _MOST:
            raise _Unsure
        own = self._seen[path] = _signature(path)
        if own and stat.S_ISDIR(own[2]):
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_symlink():  # to a folder, perhaps, with files of its own
                        raise _Unsure
                    self._add(entry.path)


def _cached(stage: Stage) -> Iterator[Path]:
    """The objects of the outs in DVC's cache: it runs a stage again where one is missing."""
    for out in stage.outs:
        if not out.use_cache:
            continue
        if not out.hash_info:
            raise _Unsure
        oids = [out.hash_info.value]
        if out.hash_info.isdir:
            tree: Any = out.get_obj()
            if tree is None:
                raise _Unsure
            oids += [oid.value for _, _, oid in tree]
        yield from (Path(out.cache.oid_to_path(oid)) for oid in oids)


def _signature(path: str) -> Signature:
    try:
        own = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return own.st_ino, own.st_size, own.st_mode, own.st_mtime_ns, own.st_ctime_ns

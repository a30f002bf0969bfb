"""Files that cannot be priced, set aside with their reason: not tried again until they change.

The reason stands where people look for the prices, as ``FILE.refused.json``; the file itself stays
where it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from housing.domain.columns import Frozen
from housing.engine.files import write_whole
from housing.errors import HousingError

SUFFIX = ".refused.json"
_LONGEST = 200  # bytes of a file's name that fit beside a suffix


class Refusal(Frozen):
    """Why a file was set aside.

    Attributes:
        file: Its name.
        seen: How it looked then: size in bytes, times of change in nanoseconds.
        model: The model that could not price it; another one tries again.
        reason: What is wrong, with the next command to type.
        told_by: The run that told people of it.
    """

    file: str
    seen: str
    model: str
    reason: str
    told_by: str

    @classmethod
    def read(cls, outbox: Path, file: Path) -> Self | None:
        """The refusal of a file, or None where it has none that can be read."""
        try:
            return cls.model_validate_json(_place(outbox, file).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def holds(self, file: Path, model: str) -> bool:
        """Whether this file, as it looks now, is one that this model could not price."""
        return (self.seen, self.model) == (_look(file), model)


def refuse(outbox: Path, file: Path, model: str, error: HousingError, run: str) -> bool:
    """Sets a file aside.

    Args:
        outbox: The folder of the prices.
        file: The file.
        model: The model that cannot price it.
        error: Why.
        run: The run that found out, and tells people.

    Returns:
        Whether people have to be told: no other run told them this of the file as it is.
    """
    before = Refusal.read(outbox, file)
    name = os.fsencode(file.name).decode(errors="replace")
    now = Refusal(file=name, seen=_look(file), model=model, reason=str(error), told_by=run)
    known = before is not None and (before.seen, before.reason) == (now.seen, now.reason)
    if before is not None and known:
        now = now.model_copy(update={"told_by": before.told_by})
    write_whole(_place(outbox, file), now.model_dump_json(indent=2) + "\n")
    return now.told_by == run


def refused(outbox: Path, files: Iterable[Path]) -> dict[Path, Refusal]:
    """The refusals of the files that are there; those of files that are gone are taken away.

    Args:
        outbox: The folder of the prices.
        files: All files that are there.
    """
    places = {_place(outbox, file): file for file in files}
    for place in outbox.glob(f"*{SUFFIX}"):
        if place not in places:
            place.unlink(missing_ok=True)
    found = {file: Refusal.read(outbox, file) for file in places.values()}
    return {file: refusal for file, refusal in found.items() if refusal}


def forget(outbox: Path, file: Path) -> None:
    """Takes the refusal of a file away, which was priced after all."""
    _place(outbox, file).unlink(missing_ok=True)


def _place(outbox: Path, file: Path) -> Path:
    raw = os.fsencode(file.name)
    try:
        name = raw.decode() if len(raw) <= _LONGEST else ""
    except UnicodeDecodeError:
        name = ""
    return outbox / f"{name or hashlib.sha256(raw).hexdigest()[:16]}{SUFFIX}"


def _look(file: Path) -> str:
    try:
        status = file.stat()
    except FileNotFoundError:
        return "gone"
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"

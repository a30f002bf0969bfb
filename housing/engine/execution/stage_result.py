"""What one task did to its stage: a small typed record, for the log, for XCom, for the summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

StageState = Literal["ran", "restored", "unchanged"]
Kind = Literal["new", "cmd", "dep", "param", "out", "force", "always"]

_STEP = 1000
_SAID: dict[StageState, str] = {
    "ran": "ran",
    "restored": "restored from the cache, the command did not run",
    "unchanged": "unchanged, nothing to do",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One reason why a stage is out of date.

    Attributes:
        kind: What changed: the stage is ``new`` to ``dvc.lock``, its ``cmd``, a ``dep``, a
            ``param``, an ``out``; or it was told to run (``force``), or does so ``always``.
        name: The path, the parameter as ``file:key``, or the stage.
        before: The value or short hash noted in ``dvc.lock``; empty where there is none.
        after: The value or short hash now; for an out also ``missing`` or ``not in cache``.
    """

    kind: Kind
    name: str
    before: str = ""
    after: str = ""

    @property
    def is_absence(self) -> bool:
        """Whether it says only that a known content is not here."""
        return bool(self.before) and self.after in ("missing", "not in cache")

    def __str__(self) -> str:
        if self.kind in ("force", "always", "new"):
            return {"force": "forced", "always": "runs at every look", "new": "never ran here"}[
                self.kind
            ]
        return f"{self.kind} {self.name}: {self.before or 'nothing'} -> {self.after or 'nothing'}"


@dataclass(frozen=True, slots=True)
class DepResult:
    """One dep as a run read it.

    Attributes:
        path: Relative to the root; an address where it is in remote storage.
        version: DVC's hash of the content, or what the storage says of it; the revision in
            ``repo``; empty where nothing is known.
        repo: The git repository that ``dvc import`` takes the path from, or an empty text.
    """

    path: str
    version: str
    repo: str = ""


@dataclass(frozen=True, slots=True)
class OutResult:
    """One out after the task.

    Attributes:
        path: Relative to the root.
        md5: DVC's hash of the content (``.dir`` at its end for a folder).
        size: Bytes.
        changed: The content is not the one that ``dvc.lock`` noted before.
    """

    path: str
    md5: str
    size: int
    changed: bool


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one task did to its stage.

    Attributes:
        stage: The stage's name.
        command: Its commands, one per line.
        state: The command ``ran``, the outs were ``restored`` from the cache, or all was
            ``unchanged``.
        reasons: Why it was out of date; empty where it was not.
        seconds: How long DVC and the command took, without the waiting for others.
        saved_seconds: How long the command took when it last ran, where it did not run now.
        outs: Every out with its hash.
        host: The machine, or the container, whose workspace it describes.
        fetched: Bytes that came from DVC's remote for it.
        pushed: Bytes that went there.
        entry: The stage's entry of ``dvc.lock`` as YAML, where other workers need it.
    """

    stage: str
    command: str
    state: StageState
    reasons: tuple[Change, ...]
    seconds: float
    saved_seconds: float
    outs: tuple[OutResult, ...]
    host: str = ""
    fetched: int = 0
    pushed: int = 0
    entry: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        lists = {name: [asdict(row) for row in getattr(self, name)] for name in ("reasons", "outs")}
        return asdict(self) | lists

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> StageResult:
        """The reverse of ``to_dict``, also after a trip through JSON."""
        reasons = tuple(Change(**reason) for reason in content["reasons"])
        outs = tuple(OutResult(**out) for out in content["outs"])
        return cls(**(content | {"reasons": reasons, "outs": outs}))

    def render(self) -> str:
        """The record as a block of lines for a log."""
        lines = [f"{self.stage}: {_SAID[self.state]}"]
        lines += [f"  command  {line}" for line in self.command.splitlines()]
        lines += [f"  why      {reason}" for reason in self.reasons]
        lines += [f"  took     {self.seconds:.2f} s"]
        if self.saved_seconds:
            lines += [f"  saved    {self.saved_seconds:.2f} s"]
        if self.fetched or self.pushed:
            lines += [f"  remote   {size(self.fetched)} fetched, {size(self.pushed)} pushed"]
        lines += [
            f"  out      {out.path}  {size(out.size)}  {short(out.md5)}"
            f"{'  changed' if out.changed else ''}"
            for out in self.outs
        ]
        return "\n".join(lines)


def short(value: str) -> str:
    """The first digits of a hash: enough to tell two of them apart in a log."""
    return value[:8] + (".dir" if value.endswith(".dir") else "")


def size(count: int) -> str:
    """A number of bytes in the largest unit that leaves at least 1 (1 kB is 1000 B)."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < _STEP:
            break
        value, unit = value / _STEP, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"

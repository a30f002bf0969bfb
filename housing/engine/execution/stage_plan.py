"""What a run would do, as plain data: for the terminal, for the log and the XCom of a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from housing.engine.execution.stage_result import Change

Action = Literal["run", "restore", "may run", "stay", "fail"]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage would do.

    Attributes:
        stage: The stage's name.
        action: Its command would ``run``; its outs would come from the cache (``restore``); it
            ``may run``, depending on what stages before it write; it would ``stay`` as it is; or it
            would ``fail`` before its command begins.
        reasons: Why it is out of date whatever the stages before it write.
        depends_on: The stages before it that it may run after: where they change what they write.
        fault: Why it would fail.
        seconds: How long its command took when it last ran; None where nobody noted it.
        outs: Hash that each out will have, by its path, where it comes from the cache.
        at_least: Seconds from the start of the run to the stage's end, where no stage that may run
            runs, and stages wait for nothing but each other.
        at_most: The same, where all of them run.
        follows: The stage before it that ends last then, or "".
    """

    stage: str
    action: Action
    reasons: tuple[Change, ...] = ()
    depends_on: tuple[str, ...] = ()
    fault: str = ""
    seconds: float | None = None
    outs: Mapping[str, str] = field(default_factory=dict)
    at_least: float = 0.0
    at_most: float = 0.0
    follows: str = ""

    @property
    def is_open(self) -> bool:
        """Whether its command would or may run."""
        return self.action in ("run", "may run")

    def after(self, upstream: Collection[StagePlan]) -> StagePlan:
        """The same plan, with times that start when the stages that it waits for have ended."""
        own = self.seconds or 0.0
        last = max(upstream, key=lambda plan: plan.at_most, default=None)
        begin = max((plan.at_least for plan in upstream), default=0.0)
        return replace(
            self,
            at_least=begin + (own if self.action == "run" else 0.0),
            at_most=(last.at_most if last else 0.0) + (own if self.is_open else 0.0),
            follows=last.stage if last else "",
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it, with a sentence for people."""
        return asdict(self) | {
            "reasons": [asdict(reason) for reason in self.reasons],
            "depends_on": list(self.depends_on),
            "told": self.told(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> StagePlan:
        """The reverse of ``to_dict``, also after a trip through JSON."""
        known = {name: content[name] for name in cls.__dataclass_fields__}
        reasons = tuple(Change(**reason) for reason in content["reasons"])
        return cls(**known | {"reasons": reasons, "depends_on": tuple(content["depends_on"])})

    def told(self) -> str:
        """What would happen, in words."""
        return {
            "run": "would run",
            "restore": "would be restored from the cache",
            "may run": f"may run, if {' or '.join(self.depends_on)} makes something else than now",
            "stay": "stays as it is",
            "fail": f"would fail: {self.fault}",
        }[self.action]

    def lines(self) -> list[str]:
        """The plan of the stage as lines of text."""
        took = (
            "nobody noted how long" if self.seconds is None else f"{self.seconds:.2f} s last time"
        )
        return [
            f"{self.stage}: {self.told()}",
            *(f"  why      {reason}" for reason in self.reasons),
            *([f"  takes    {took}"] if self.is_open else []),
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        stages: One plan a stage, each after all upstream of it.
    """

    stages: tuple[StagePlan, ...]

    @property
    def critical_path(self) -> tuple[str, ...]:
        """The stages that the end of the run waits for, if all that may run do run."""
        by_name = {plan.stage: plan for plan in self.stages}
        at = max(self.stages, key=lambda plan: plan.at_most, default=None)
        found: list[str] = []
        while at is not None:
            found += [at.stage] if at.is_open else []
            at = by_name.get(at.follows)
        return tuple(reversed(found))

    @property
    def unknown(self) -> tuple[str, ...]:
        """The stages that would or may run, and of which nobody noted how long they take."""
        return tuple(one.stage for one in self.stages if one.is_open and one.seconds is None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it; times are in seconds."""
        return {
            "counts": dict(Counter(plan.action for plan in self.stages)),
            "at_least": round(max((plan.at_least for plan in self.stages), default=0.0), 3),
            "at_most": round(max((plan.at_most for plan in self.stages), default=0.0), 3),
            "critical_path": list(self.critical_path),
            "unknown": list(self.unknown),
            "stages": [plan.to_dict() for plan in self.stages],
        }

    def lines(self) -> list[str]:
        """The plan as lines of text."""
        content = self.to_dict()
        least, most = content["at_least"], content["at_most"]
        times = f"{most:.1f} s" if least == most else f"{least:.1f} to {most:.1f} s"
        along = f" along {' > '.join(self.critical_path)}" if self.critical_path else ""
        lines = [line for plan in self.stages for line in plan.lines()]
        counts = ", ".join(f"{count} {action}" for action, count in content["counts"].items())
        lines.append(f"{counts or 'no stages'}; by the last durations {times}{along}")
        if self.unknown:
            lines.append(f"not in that time, for nobody noted theirs: {', '.join(self.unknown)}")
        return lines

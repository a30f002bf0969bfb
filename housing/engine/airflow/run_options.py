"""What a person asks of one run: the trigger form, and its answers as typed data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk import Param

from housing.engine.graph.selection import (
    ALL,
    NONE,
    Scope,
    Upstream,
    choices,
    last,
    members,
    select,
)


@dataclass(frozen=True)
class RunOptions:
    """The answers to the trigger form; the defaults are a plain run.

    Attributes:
        stage: The stage that the run is about, or ``all``.
        scope: Which of its relatives come along.
        force: The stage that runs even where nothing changed, ``all``, or ``none``.
        overrides: ``path=value`` pairs that replace values of ``params.yaml`` in this run.
        promote_overrides: A model made with overrides may be promoted.
    """

    stage: str = ALL
    scope: Scope = "upstream"
    force: str = NONE
    overrides: tuple[str, ...] = ()
    promote_overrides: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> RunOptions:
        """Reads the params of a run; a DAG without the form gets a plain run."""
        known = {name: params[name] for name in cls.__dataclass_fields__ if name in params}
        return cls(**{**known, "overrides": tuple(known.get("overrides") or ())})

    def takes(self, stage: str, upstream: Upstream) -> bool:
        """Whether the run takes this stage.

        Raises:
            OptionsError: The form names no stage of the graph.
        """
        return stage in select(self.stage, self.scope, upstream)

    def forces(self, stage: str, upstream: Upstream) -> bool:
        """Whether the run forces this stage.

        Raises:
            OptionsError: The form names no stage of the graph.
        """
        return stage in members(self.force, upstream)

    def reaches_gate(self, upstream: Upstream) -> bool:
        """Whether the run takes every last stage, so that there is a result to judge.

        Raises:
            OptionsError: The form names no stage of the graph.
        """
        return last(upstream) <= select(self.stage, self.scope, upstream)


def form(stages: Iterable[str]) -> dict[str, Param]:
    """The trigger form.

    Args:
        stages: Names of all stages, in the order in which the form lists them.
    """
    names = choices(stages)
    return {
        "stage": Param(
            ALL,
            title="Stage",
            description="The stage that this run is about; the rest is skipped.",
            type="string",
            enum=[ALL, *names],
        ),
        "scope": Param(
            "upstream",
            title="Scope",
            description="only: the stage alone. upstream: also all it depends on. "
            "downstream: also all that depends on it.",
            type="string",
            enum=["only", "upstream", "downstream"],
        ),
        "force": Param(
            NONE,
            title="Force",
            description="Runs this stage even where nothing changed.",
            type="string",
            enum=[NONE, ALL, *names],
        ),
        "overrides": Param(
            [],
            title="Parameter overrides",
            description="One a line: train.xgboost.max_depth=8. They hold for this run only. "
            "gate and registry stay as they are.",
            type=["array", "null"],
            items={"type": "string", "pattern": r"^[^=\s]+=.*$"},
        ),
        "promote_overrides": Param(
            False,
            title="Promote a model with overrides",
            description="Lets the gate promote what this run made, although it has overrides: to "
            "staging only, and not where they change the data, the split, or how it is evaluated.",
            type="boolean",
        ),
    }

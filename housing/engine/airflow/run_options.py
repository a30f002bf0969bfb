"""What a person asks of one run: the trigger form, and its answers as typed data.

The form's params begin with ``dvc_``, and those of a group with `prefix_group_id` with ``dvc_`` and
the group's id: a param of the DAG's own is never taken for one of them.
"""

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

PLAN = "dvc_plan"
"""Name of the param that makes a run a plan: it counts for all groups of a DAG."""

_FIELDS = ("stage", "scope", "force", "overrides")


@dataclass(frozen=True)
class RunOptions:
    """The answers to the trigger form; the defaults are a plain run.

    Attributes:
        stage: The stage that the run is about, or ``all``.
        scope: Which of its relatives come along.
        force: The stage that runs even where nothing changed, ``all``, or ``none``.
        overrides: ``[file:]key=value`` pairs that replace parameters in this run.
        plan: Each stage tells what it would do, and nothing runs.
    """

    stage: str = ALL
    scope: Scope = "upstream"
    force: str = NONE
    overrides: tuple[str, ...] = ()
    plan: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Any], group: str = "") -> RunOptions:
        """Reads the params of a run; a DAG without the form gets a plain run.

        Args:
            params: The params of the run, the DAG's own among them.
            group: Id of the stages' group, where its tasks begin with it.
        """
        names = names_of(group).items()
        known = {field: params[name] for field, name in names if name in params}
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


def names_of(group: str = "") -> dict[str, str]:
    """The param that holds each option of a run, by the attribute of `RunOptions`.

    Args:
        group: Id of the stages' group, where its tasks begin with it. ``dvc_plan`` is shared by
            all groups of a DAG.
    """
    prefix = f"dvc_{group}_" if group else "dvc_"
    return {field: prefix + field for field in _FIELDS} | {"plan": PLAN}


def form(stages: Iterable[str], group: str = "") -> dict[str, Param]:
    """The trigger form.

    Args:
        stages: Names of all stages, in the order in which the form lists them.
        group: Id of the stages' group, where its tasks begin with it: its options get a section.
    """
    listed = choices(stages)
    section: dict[str, Any] = {"section": f"Stages of {group}"} if group else {}
    options: dict[str, dict[str, Any]] = {
        "stage": {
            "default": ALL,
            "title": "Stage",
            "description": "The stage that this run is about; the rest is skipped.",
            "type": "string",
            "enum": [ALL, *listed],
        },
        "scope": {
            "default": "upstream",
            "title": "Scope",
            "description": "only: the stage alone. upstream: also all it depends on. "
            "downstream: also all that depends on it.",
            "type": "string",
            "enum": ["only", "upstream", "downstream"],
        },
        "force": {
            "default": NONE,
            "title": "Force",
            "description": "Runs this stage even where nothing changed.",
            "type": "string",
            "enum": [NONE, ALL, *listed],
        },
        "overrides": {
            "default": [],
            "title": "Parameter overrides",
            "description": "One a line: train.depth=8, or model.json:depth=8 for another params "
            "file than params.yaml. They hold for this run only.",
            "type": ["array", "null"],
            "items": {"type": "string", "pattern": r"^[^=\s]+=.*$"},
        },
    }
    names = names_of(group)
    plan = Param(
        False,
        title="Plan only",
        description="Each stage tells in its log and its XCom what it would do, why, and how long "
        "that takes. Nothing runs, and the tasks after the stages are skipped.",
        type="boolean",
    )
    return {names[field]: Param(**one, **section) for field, one in options.items()} | {PLAN: plan}

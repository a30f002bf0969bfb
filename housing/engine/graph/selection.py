"""Which stages a run takes, in DVC's own terms. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from housing.engine.errors import OptionsError

ALL = "all"
NONE = "none"
FILE = "dvc.yaml"
Scope = Literal["only", "downstream", "upstream"]
Upstream = Mapping[str, Collection[str]]
"""Every stage with the stages it directly depends on."""


def choices(stages: Iterable[str]) -> list[str]:
    """What a person may name: every stage, and each matrix or foreach as a whole.

    Where the stages stand in several ``dvc.yaml``, also each of these files.

    Args:
        stages: Names of all stages.

    Returns:
        ``train_model`` before ``train_model@linear`` and ``train_model@xgboost``, in order.
    """
    stages = list(stages)
    files = {file_of(stage) for stage in stages if not stage.endswith(".dvc")}
    names: dict[str, None] = {}
    for stage in stages:
        if len(files) > 1:
            names.setdefault(file_of(stage))
        names.setdefault(stage.partition("@")[0])
        names.setdefault(stage)
    return list(names)


def file_of(stage: str) -> str:
    """The file of a stage: ``a/dvc.yaml`` of ``a/dvc.yaml:train``, and ``raw.dvc`` of itself."""
    folder, named, _ = stage.partition(f"{FILE}:")
    return stage if stage.endswith(".dvc") and not named else f"{folder if named else ''}{FILE}"


def members(name: str, stages: Collection[str]) -> frozenset[str]:
    """The stages that a name stands for.

    Args:
        name: A stage, a matrix or foreach as a whole, a ``dvc.yaml``, ``all`` or ``none``.
        stages: Names of all stages.

    Raises:
        OptionsError: No stage has this name.
    """
    if name in {ALL, NONE}:
        return frozenset(stages if name == ALL else ())
    found = frozenset(s for s in stages if name in {s, s.partition("@")[0], file_of(s)})
    if not found:
        raise OptionsError(f"dvc.yaml has no stage {name!r}", "dvc stage list --all")
    return found


def select(name: str, scope: Scope, upstream: Upstream) -> frozenset[str]:
    """The stages of a run.

    Args:
        name: A stage, a matrix or foreach as a whole, a ``dvc.yaml``, or ``all``.
        scope: ``only`` takes the named stage (``dvc repro --single-item``), ``downstream`` also
            all that depends on it (``dvc repro --downstream``), ``upstream`` also all that it
            depends on (``dvc repro``).
        upstream: Every stage with the stages it directly depends on.

    Raises:
        OptionsError: No stage has this name.
    """
    named = members(name, upstream)
    if scope == "only":
        return named
    edges = upstream if scope == "upstream" else _reversed(upstream)
    reached: set[str] = set()
    waiting = list(named)
    while waiting:
        stage = waiting.pop()
        if stage not in reached:
            reached.add(stage)
            waiting.extend(edges[stage])
    return frozenset(reached)


def chosen(upstream: Upstream, wanted: Collection[str], exclude: Collection[str]) -> frozenset[str]:
    """The stages that a DAG takes of a repository.

    Args:
        upstream: Every stage with the stages it directly depends on.
        wanted: What to take, everything where it is empty: a stage, a matrix or foreach as a
            whole, or a ``dvc.yaml`` with all its stages; ``+name`` also takes all that it depends
            on, ``name+`` all that depends on it.
        exclude: What to leave out, written alike.

    Raises:
        OptionsError: No stage has a name that is given.
    """
    taken = _matched(upstream, wanted) if wanted else frozenset(upstream)
    return taken - _matched(upstream, exclude)


def _matched(upstream: Upstream, patterns: Collection[str]) -> frozenset[str]:
    found: set[str] = set()
    for pattern in patterns:
        name = pattern.removeprefix("+").removesuffix("+")
        found |= select(name, "only", upstream)
        if pattern.startswith("+"):
            found |= select(name, "upstream", upstream)
        if pattern.endswith("+"):
            found |= select(name, "downstream", upstream)
    return frozenset(found)


def last(upstream: Upstream) -> frozenset[str]:
    """The stages that no other stage depends on."""
    return frozenset(upstream).difference(*upstream.values())


def last_to_end(upstream: Upstream) -> frozenset[str]:
    """The stages to wait for until every stage has ended, whatever became of each.

    A stage that fails ends all downstream of it at once (Airflow's ``upstream_failed``), while
    stages beside it go on. So the end of a stage stands for the end of one that it reads from only
    where nothing else can end it before: where all else upstream of it comes before or after that
    one.

    Args:
        upstream: Every stage after those that it directly depends on.
    """
    place = {stage: 1 << at for at, stage in enumerate(upstream)}
    above = _reached(upstream, upstream, place)
    below = _reached(_reversed(upstream), reversed(list(upstream)), place)
    covered = {
        parent
        for stage, parents in upstream.items()
        for parent in parents
        if not above[stage] & ~(above[parent] | below[parent] | place[parent])
    }
    return frozenset(upstream) - covered


def _reached(edges: Upstream, order: Iterable[str], place: Mapping[str, int]) -> dict[str, int]:
    """All that each stage reaches along the edges, a bit for each stage: thousands take no time."""
    found: dict[str, int] = {}
    for stage in order:
        found[stage] = 0
        for near in edges[stage]:
            found[stage] |= found[near] | place[near]
    return found


def _reversed(upstream: Upstream) -> dict[str, list[str]]:
    downstream: dict[str, list[str]] = {stage: [] for stage in upstream}
    for stage, parents in upstream.items():
        for parent in parents:
            downstream[parent].append(stage)
    return downstream

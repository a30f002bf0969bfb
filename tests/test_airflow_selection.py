from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from housing.engine.airflow.run_options import RunOptions, form
from housing.engine.errors import OptionsError
from housing.engine.graph.selection import (
    ALL,
    NONE,
    Scope,
    choices,
    last,
    last_to_end,
    members,
    select,
)

try:
    from airflow.sdk.exceptions import ParamValidationError
except ImportError:  # Airflow 3.1
    from airflow.exceptions import ParamValidationError

CHAIN = {
    "ingest": (),
    "features": ("ingest",),
    "train@a": ("features",),
    "train@b": ("features",),
    "evaluate": ("train@a", "train@b"),
}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    count = draw(st.integers(1, 8))
    names = [f"s{n}" for n in range(count)]
    return {
        name: tuple(sorted(draw(st.sets(st.sampled_from(names[:n]))))) if n else ()
        for n, name in enumerate(names)
    }


@pytest.mark.parametrize(
    ("name", "scope", "taken"),
    [
        (ALL, "upstream", set(CHAIN)),
        ("features", "only", {"features"}),
        ("features", "upstream", {"ingest", "features"}),
        ("features", "downstream", {"features", "train@a", "train@b", "evaluate"}),
        ("train", "only", {"train@a", "train@b"}),
        ("train@a", "downstream", {"train@a", "evaluate"}),
    ],
)
def test_a_run_takes_the_stages_that_dvc_would(name: str, scope: Scope, taken: set[str]) -> None:
    assert select(name, scope, CHAIN) == taken


@given(graphs(), st.data())
def test_a_selection_holds_all_relatives_and_nothing_else(
    graph: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    stage = data.draw(st.sampled_from(sorted(graph)))
    up, down = select(stage, "upstream", graph), select(stage, "downstream", graph)
    assert all(set(graph[member]) <= up for member in up)
    assert all(stage in select(member, "upstream", graph) for member in down)
    assert all(stage in select(member, "downstream", graph) for member in up)
    assert up & down == select(stage, "only", graph)


@given(graphs())
def test_the_last_stages_stand_for_the_whole_graph(graph: dict[str, tuple[str, ...]]) -> None:
    reached = set().union(*(select(stage, "upstream", graph) for stage in last(graph)))
    assert reached == set(graph)


def test_a_matrix_can_be_named_as_a_whole() -> None:
    assert choices(CHAIN) == ["ingest", "features", "train", "train@a", "train@b", "evaluate"]
    assert members(NONE, CHAIN) == frozenset()
    assert members(ALL, CHAIN) == set(CHAIN)


def test_a_file_can_be_named_as_a_whole_where_there_are_several() -> None:
    mono = {"load": (), "etl/dvc.yaml:clean": ("load",), "etl/dvc.yaml:each@a": (), "x/raw.dvc": ()}
    assert members("dvc.yaml", mono) == {"load"}
    assert members("etl/dvc.yaml", mono) == {"etl/dvc.yaml:clean", "etl/dvc.yaml:each@a"}
    assert members("x/raw.dvc", mono) == {"x/raw.dvc"}
    assert {"dvc.yaml", "etl/dvc.yaml", "etl/dvc.yaml:each"} <= set(choices(mono))


@given(graphs())
def test_the_last_stages_to_end_are_those_that_no_end_of_another_stands_for(
    graph: dict[str, tuple[str, ...]],
) -> None:
    """Plays every way in which stages end and fail, and looks who is still running."""
    waited = last_to_end(graph)

    def play(running: frozenset[str], ended: frozenset[str], failed: frozenset[str]) -> None:
        state = (running, ended, failed)
        if state in seen:
            return
        seen.add(state)
        assert not (waited <= ended and ended != frozenset(graph)), state
        for stage in running:
            for fails in (False, True):
                done, bad = ended | {stage}, failed | ({stage} if fails else frozenset())
                for other, upstream in graph.items():  # Airflow ends them at once
                    if other not in done and bad & set(upstream):
                        done, bad = done | {other}, bad | {other}
                ready = {one for one, upstream in graph.items() if set(upstream) <= done - bad}
                play(frozenset(ready - done), done, bad)

    seen: set[tuple[frozenset[str], frozenset[str], frozenset[str]]] = set()
    if len(graph) <= 6:
        first = frozenset(stage for stage, upstream in graph.items() if not upstream)
        play(first, frozenset(), frozenset())


def test_a_chain_ends_with_its_last_stage_and_stages_side_by_side_need_each_of_them() -> None:
    assert last_to_end(CHAIN) == {"train@a", "train@b", "evaluate"}
    assert last_to_end({"a": (), "b": ("a",), "c": ("b",), "d": ("a", "b", "c")}) == {"d"}
    two = {"a1": (), "a2": ("a1",), "b1": (), "b2": ("b1",), "end": ("a2", "b2")}
    assert last_to_end(two) == {"a2", "b2", "end"}


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(OptionsError, match="no stage 'tarin'"):
        select("tarin", "only", CHAIN)


def test_the_defaults_of_the_form_are_a_plain_run() -> None:
    answers = {name: param.resolve() for name, param in form(CHAIN).items()}
    assert RunOptions.of(answers) == RunOptions() == RunOptions.of({})
    assert all(name.startswith("dvc_") for name in answers)
    assert all(RunOptions().takes(stage, CHAIN) for stage in CHAIN)
    assert not any(RunOptions().forces(stage, CHAIN) for stage in CHAIN)
    assert RunOptions().reaches_gate(CHAIN)


def test_a_param_of_the_dag_or_of_another_group_is_no_option() -> None:
    own = {"stage": "x", "scope": "x", "force": "all", "overrides": ["x"], "plan": True}
    assert RunOptions.of(own) == RunOptions.of(own, "group") == RunOptions()
    asked = {"dvc_a_force": "all", "dvc_b_stage": "b", "dvc_force": "none", "dvc_plan": True}
    assert RunOptions.of(asked, "a") == RunOptions(force="all", plan=True)
    assert RunOptions.of(asked, "b") == RunOptions(stage="b", plan=True)
    assert set(form(CHAIN, "a")) & set(form(CHAIN, "b")) == {"dvc_plan"}


def test_a_partial_run_reaches_the_gate_only_with_the_last_stages() -> None:
    assert not RunOptions(stage="features").reaches_gate(CHAIN)
    assert RunOptions(stage="train", scope="downstream").reaches_gate(CHAIN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dvc_stage", "tarin"),
        ("dvc_scope", "sideways"),
        ("dvc_force", "tarin"),
        ("dvc_overrides", ["train.xgboost.max_depth"]),
        ("dvc_overrides", "train.xgboost.max_depth=8"),
        ("dvc_plan", "yes"),
    ],
)
def test_the_form_refuses_a_wrong_answer(name: str, value: object) -> None:
    with pytest.raises(ParamValidationError):
        form(CHAIN)[name].resolve(value)

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import ParamValidationError
from hypothesis import given
from hypothesis import strategies as st

from housing.engine.airflow.run_options import RunOptions, form
from housing.engine.errors import OptionsError
from housing.engine.graph.selection import ALL, NONE, Scope, choices, last, members, select

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


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(OptionsError, match="no stage 'tarin'"):
        select("tarin", "only", CHAIN)


def test_the_defaults_of_the_form_are_a_plain_run() -> None:
    answers = {name: param.resolve() for name, param in form(CHAIN).items()}
    assert RunOptions.of(answers) == RunOptions() == RunOptions.of({})
    assert all(RunOptions().takes(stage, CHAIN) for stage in CHAIN)
    assert not any(RunOptions().forces(stage, CHAIN) for stage in CHAIN)
    assert RunOptions().reaches_gate(CHAIN)


def test_a_partial_run_reaches_the_gate_only_with_the_last_stages() -> None:
    assert not RunOptions(stage="features").reaches_gate(CHAIN)
    assert RunOptions(stage="train", scope="downstream").reaches_gate(CHAIN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stage", "tarin"),
        ("scope", "sideways"),
        ("force", "tarin"),
        ("overrides", ["train.xgboost.max_depth"]),
        ("overrides", "train.xgboost.max_depth=8"),
        ("promote_overrides", "yes"),
    ],
)
def test_the_form_refuses_a_wrong_answer(name: str, value: object) -> None:
    with pytest.raises(ParamValidationError):
        form(CHAIN)[name].resolve(value)

"""Which tasks end together with the task of an unchanged stage before them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import yaml
from airflow.listeners import hookimpl
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.xcom import XCom
from airflow.sdk.listener import get_listener_manager
from pluggy import PluginManager

from housing.engine import DvcDag, DvcTaskGroup, graph
from housing.engine.airflow import look_ahead
from housing.engine.airflow.run_options import RunOptions
from housing.engine.execution import locks, stage_run
from housing.engine.execution.stage_result import StageResult
from housing.engine.execution.stage_run import StageRun
from tests.repository import make_repository

ORDER = ("first", "second", "third", "last")
PLAIN = RunOptions()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of four stages that have just run."""
    root = tmp_path_factory.mktemp("made")
    make_repository(root, git=False)
    stages = {
        name: {"cmd": f"echo > {name}", "outs": [name]} | ({"deps": [before]} if before else {})
        for before, name in zip(("", *ORDER), ORDER, strict=False)
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    for name in ORDER:
        stage_run.reproduce(root, name)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "p")


@pytest.fixture(autouse=True)
def listeners() -> Iterator[PluginManager]:
    """Those of tasks: none, for one of Airflow's examples would listen here."""
    manager = get_listener_manager().pm
    before = manager.get_plugins()
    for one in before:
        manager.unregister(one)
    yield manager
    for one in manager.get_plugins():
        manager.unregister(one)
    for one in before:
        manager.register(one)


class Run:
    """A run whose first task looks: Airflow's database is not here."""

    def __init__(self) -> None:
        self.left: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str | None] = {"first": "running"}
        self.ti = SimpleNamespace(
            dag_id="d", run_id="r", task_id="first", try_number=1, max_tries=1, map_index=-1
        )
        self.ti.get_task_states = lambda **_: {"r": self.states}
        self.ti.xcom_pull = lambda task_ids, key, **_: self.left.get(task_ids, {}).get(key)

    def set(self, *, key: str, value: object, task_id: str, **_: object) -> None:
        self.left.setdefault(task_id, {})[key] = value

    def ended(self, dag: DvcDag, options: RunOptions = PLAIN) -> list[str]:
        self.states = dict.fromkeys(dag.task_ids) | self.states
        record = StageResult("first", "echo", "unchanged", (), 0.0, 0.0, ())
        return look_ahead.end_unchanged_after(dag.stages["first"], self.ti, options, record)


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr(XCom, "set", run.set)
    monkeypatch.setattr(XCom, "_set_xcom_in_db", run.set)
    return run


def dag_of(root: Path, **arguments: Any) -> DvcDag:  # noqa: ANN401 - as they come
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return DvcDag("d", root=root, schedule=None, start_date=start, **arguments)


def test_a_whole_chain_of_unchanged_stages_ends_with_the_first(root: Path, run: Run) -> None:
    assert run.ended(dag_of(root)) == ["second", "third", "last"]
    assert {name: left["return_value"]["stage"] for name, left in run.left.items()} == {
        name: name for name in ORDER[1:]
    }


@pytest.mark.parametrize("name", ORDER[1:])
def test_what_comes_after_a_changed_stage_has_its_own_task(root: Path, run: Run, name: str) -> None:
    (root / name).unlink()
    assert run.ended(dag_of(root)) == [*ORDER[1 : ORDER.index(name)]]


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(force="second"),
        RunOptions(stage="first", scope="only"),
        RunOptions(overrides=("a=1",)),
    ],
)
def test_the_options_of_a_run_count(root: Path, run: Run, options: RunOptions) -> None:
    assert run.ended(dag_of(root), options) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_unchanged", "succeed"),
        ("trigger_rule", "all_done"),
        ("depends_on_past", True),
        ("_pre_execute_hook", print),
        ("on_skipped_callback", print),
        ("on_execute_callback", print),
    ],
)
def test_a_task_that_does_more_than_look_runs(
    root: Path, run: Run, name: str, value: object
) -> None:
    dag = dag_of(root)
    setattr(dag.stages["second"], name, value)
    assert run.ended(dag) == []


def test_stages_whose_outs_travel_by_a_remote_have_their_own_tasks(root: Path, run: Run) -> None:
    assert run.ended(dag_of(root, push=True)) == []


def test_a_task_between_stages_may_change_what_they_read(root: Path, run: Run) -> None:
    dag = dag_of(root)
    EmptyOperator(task_id="mine", dag=dag) >> dag.stages["third"]
    assert run.ended(dag) == ["second"]


def test_what_has_ended_before_is_no_obstacle(root: Path, run: Run) -> None:
    dag = dag_of(root)
    EmptyOperator(task_id="mine", dag=dag) >> dag.stages["third"]
    run.states["mine"] = "success"
    assert run.ended(dag) == ["second", "third", "last"]


@pytest.mark.parametrize("state", ["success", "failed", "running"])
def test_a_task_with_a_state_of_its_own_keeps_its_record(root: Path, run: Run, state: str) -> None:
    run.states["third"] = state
    assert run.ended(dag_of(root)) == ["second"] + (["last"] if state == "success" else [])
    assert "third" not in run.left


def test_a_mapped_task_ends_no_other(root: Path, run: Run) -> None:
    run.ti.map_index = 0
    assert run.ended(dag_of(root)) == []


def test_stages_wait_for_those_of_another_group_that_they_read_from(root: Path, run: Run) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with DAG("d", schedule=None, start_date=start) as dag:
        first = DvcTaskGroup("one", root=root, select=["first", "second"])
        other = DvcTaskGroup("two", root=root, select=["third", "last"])
        first.stages["first"] >> other.stages["third"]  # not what dvc.yaml says
    run.states = dict.fromkeys(dag.task_ids) | run.states | {"second": "running"}
    record = StageResult("first", "echo", "unchanged", (), 0.0, 0.0, ())
    assert look_ahead.end_unchanged_after(first.stages["first"], run.ti, PLAIN, record) == []


def test_the_next_try_tells_what_the_killed_one_found(root: Path, run: Run) -> None:
    dag = dag_of(root)
    first = dag.stages["first"]
    run.states |= dict.fromkeys(run.ended(dag), "skipped")
    assert look_ahead.told_before(first, run.ti) is None
    run.ti.try_number = 2
    told = look_ahead.told_before(first, run.ti)
    assert told is not None
    assert told["state"] == "unchanged"
    run.ti.max_tries = 3  # a person cleared it
    assert look_ahead.told_before(first, run.ti) is None


def test_a_try_that_was_killed_before_it_ended_others_told_nothing(root: Path, run: Run) -> None:
    dag = dag_of(root)
    run.ended(dag)
    run.ti.try_number = 2
    assert look_ahead.told_before(dag.stages["first"], run.ti) is None


def test_a_listener_is_told_of_each_task(root: Path, run: Run, listeners: PluginManager) -> None:
    class Listener:
        @hookimpl
        def on_task_instance_skipped(self) -> None:
            """Told of each task, as that of OpenLineage is."""

    listeners.register(Listener())
    assert run.ended(dag_of(root)) == []


def test_dvc_is_asked_no_more_after_a_changed_stage(root: Path, run: Run) -> None:
    stages = yaml.safe_load((root / "dvc.yaml").read_text())
    stages["stages"]["side"] = {"cmd": "true", "deps": ["first"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump(stages))
    stage_run.reproduce(root, "side")
    (root / "second").unlink()
    assert run.ended(dag_of(root)) == []
    assert stage_run.reproduce(root, "side").state == "unchanged"
    assert run.ended(dag_of(root)) == ["side"]


def test_after_some_seconds_the_next_task_goes_on(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_ahead, "_ENOUGH", -1.0)
    assert run.ended(dag_of(root)) == []


def test_a_timeout_of_the_task_is_none_of_the_stage_that_has_ended(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StageRun, "look", mock.Mock(side_effect=AirflowTaskTimeout))
    assert run.ended(dag_of(root)) == []


def test_a_stage_that_somebody_else_runs_has_its_own_task(root: Path, run: Run) -> None:
    with locks.hold(root, graph.load(root)["third"], 0, lambda: None):
        assert run.ended(dag_of(root)) == []  # second is read by third meanwhile
    assert run.ended(dag_of(root)) == ["second", "third", "last"]

"""Any repository's stages as a group of tasks, or as a DAG."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, TaskGroup
from airflow.sdk.bases.operator import BaseOperator

from housing import engine
from housing.engine import DvcDag, DvcTaskGroup
from housing.engine.errors import GraphError, OptionsError
from tests.repository import make_repository

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import (  # type: ignore[no-redef,attr-defined,assignment]
        SerializedDAG as DagSerialization,
    )

START = datetime(2026, 1, 1, tzinfo=UTC)
STAGES = {
    "prepare": {"cmd": "cp raw clean", "deps": ["raw"], "outs": ["clean"]},
    "train": {
        "matrix": {"model": ["a", "b"]},
        "cmd": "cp clean ${item.model}",
        "deps": ["clean"],
        "outs": ["${item.model}"],
    },
    "evaluate": {"cmd": "cat a b > report", "deps": ["a", "b"], "outs": ["report"]},
}
SUB = {"load": {"cmd": "echo x > rows", "outs": ["rows"]}}


def repository(root: Path, stages: dict[str, Any]) -> None:
    make_repository(root, git=False)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("churn")
    repository(root, STAGES)
    (root / "raw").write_text("x")
    (root / "etl").mkdir()
    (root / "etl/dvc.yaml").write_text(yaml.safe_dump({"stages": SUB}))
    return root


def edges(tasks: dict[str, Any]) -> dict[str, list[str]]:
    names = {task.task_id: name for name, task in tasks.items()}
    return {
        name: sorted(names[up] for up in task.upstream_task_ids) for name, task in tasks.items()
    }


def drawn(group: TaskGroup) -> dict[str, Any]:
    """The nested groups and their tasks, by what the UI shows."""
    return {
        child.group_display_name
        if isinstance(child, TaskGroup)
        else str(child.task_display_name): drawn(child) if isinstance(child, TaskGroup) else None
        for child in group.children.values()
        if isinstance(child, TaskGroup | BaseOperator)
    }


def test_a_group_has_a_task_for_each_stage_and_the_edges_of_dvc(root: Path) -> None:
    with DAG("churn", schedule=None, start_date=START):
        group = DvcTaskGroup("pipeline", root=root)
    assert edges(group.stages) == {
        "prepare": [],
        "train@a": ["prepare"],
        "train@b": ["prepare"],
        "evaluate": ["train@a", "train@b"],
        "etl/dvc.yaml:load": [],
    }
    assert group.stages["train@a"].task_id == "train.a"
    assert drawn(group) == {
        "prepare": None,
        "train": {"train@a": None, "train@b": None},
        "evaluate": None,
        "etl/": {"etl/dvc.yaml:load": None},
    }


def test_a_dag_is_the_same_without_a_group_around_it_and_survives_airflows_store(
    root: Path,
) -> None:
    dag = DvcDag("churn", root=root, schedule=None, start_date=START)
    assert set(drawn(dag.task_group)) == {"prepare", "train", "evaluate", "etl/"}
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert set(stored.task_dict) == {task.task_id for task in dag.stages.values()}
    assert {"stage", "force", "overrides"} <= set(dag.params)


def test_two_repositories_fit_into_one_dag(root: Path) -> None:
    with DAG("both", schedule=None, start_date=START) as dag:
        first = DvcTaskGroup("first", root=root, prefix_group_id=True)
        second = DvcTaskGroup("second", root=root, prefix_group_id=True)
        first >> second
    assert {"first.prepare", "second.train.a"} <= set(dag.task_ids)
    assert "first.evaluate" in second.stages["prepare"].upstream_task_ids


@pytest.mark.parametrize(
    ("select", "exclude", "taken"),
    [
        (["train"], [], {"train@a", "train@b"}),
        (["+train@a"], [], {"prepare", "train@a"}),
        (["train@b+"], [], {"train@b", "evaluate"}),
        ([], ["prepare+"], {"etl/dvc.yaml:load"}),
        (["+evaluate"], ["evaluate"], {"prepare", "train@a", "train@b"}),
    ],
)
def test_a_part_of_the_stages(
    root: Path, select: list[str], exclude: list[str], taken: set[str]
) -> None:
    dag = DvcDag("part", root=root, select=select, exclude=exclude, schedule=None, start_date=START)
    assert set(dag.stages) == taken


def test_a_selection_that_names_no_stage_is_refused(root: Path) -> None:
    with pytest.raises(OptionsError, match="no stage 'trian'"):
        DvcDag("part", root=root, select=["trian"], schedule=None, start_date=START)


def test_a_stage_says_what_it_needs_of_airflow(tmp_path: Path) -> None:
    meta: dict[str, Any] = {"pool": "gpu", "retries": 5, "execution_timeout": 90}
    stages = {"one": {"cmd": "true", "meta": {"airflow": meta}}, "two": {"cmd": "true"}}
    repository(tmp_path, stages)
    dag = DvcDag(
        "meta", root=tmp_path, operator_args={"retries": 1}, schedule=None, start_date=START
    )
    one, two = dag.stages["one"], dag.stages["two"]
    assert (one.pool, one.retries, one.execution_timeout) == ("gpu", 5, timedelta(seconds=90))
    assert (two.pool, two.retries, two.execution_timeout) == ("default_pool", 1, None)


def test_all_faults_of_what_stages_need_are_told_together(tmp_path: Path) -> None:
    stages = {
        "one": {"cmd": "true", "meta": {"airflow": {"pol": "gpu", "retries": -1}}},
        "two": {"cmd": "true", "meta": {"airflow": {"on_unchanged": "ignore"}}},
    }
    repository(tmp_path, stages)
    with pytest.raises(GraphError) as told:
        DvcDag("meta", root=tmp_path, schedule=None, start_date=START)
    for fault in ("one: meta.airflow.pol", "one: meta.airflow.retries", "two: meta.airflow.on_un"):
        assert f"dvc.yaml, stage {fault}" in told.value.fact


def test_the_public_names_are_there_and_cost_nothing_before_they_are_used() -> None:
    code = (
        "import sys, housing.engine as engine; heavy = {'airflow', 'dvc', 'pydantic'};"
        "print(sorted(heavy & set(sys.modules)));"
        "print([name for name in engine.__all__ if not hasattr(engine, name)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"]
    with pytest.raises(AttributeError, match="no attribute 'DbtDag'"):
        engine.DbtDag  # noqa: B018 - the access is what is tried

"""Any repository's stages as a group of tasks, or as a DAG."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, AssetAny, Param, TaskGroup
from airflow.sdk.bases.operator import BaseOperator
from airflow.utils.dag_edges import dag_edges

from housing import engine
from housing.engine import DvcDag, DvcTaskGroup, upstream_assets
from housing.engine.airflow.assets import asset_of
from housing.engine.airflow.task_ids import task_id_of
from housing.engine.errors import GraphError, OptionsError
from tests.repository import make_repository

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import (  # type: ignore[attr-defined,assignment]
        SerializedDAG as DagSerialization,
    )

ROOT = Path(__file__).parents[1]
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
LOAD = "etl/dvc.yaml:load"
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
    assert {"dvc_stage", "dvc_force", "dvc_overrides", "dvc_plan"} <= set(dag.params)


def test_two_repositories_fit_into_one_dag(root: Path) -> None:
    with DAG("both", schedule=None, start_date=START) as dag:
        first = DvcTaskGroup("first", root=root, prefix_group_id=True)
        second = DvcTaskGroup("second", root=root, prefix_group_id=True)
        first >> second
        first.stages["prepare"] >> second.stages["evaluate"]
    assert {"first.prepare", "second.train.a"} <= set(dag.task_ids)
    assert "first.evaluate" in second.stages["prepare"].upstream_task_ids
    assert "first.prepare" in second.stages["evaluate"].upstream_task_ids
    options = {"dvc_first_stage", "dvc_second_stage", "dvc_second_overrides", "dvc_plan"}
    assert options <= set(dag.params)
    assert "dvc_stage" not in dag.params
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert set(stored.task_dict) == set(dag.task_ids)


def test_the_options_of_a_run_are_those_of_one_repository(root: Path, tmp_path: Path) -> None:
    repository(tmp_path, SUB)
    with DAG("both", schedule=None, start_date=START):
        DvcTaskGroup("first", root=root)
        with pytest.raises(OptionsError, match=r"(?s)has the stages of .*prefix_group_id=True"):
            DvcTaskGroup("second", root=tmp_path)
    with DAG("both", schedule=None, start_date=START) as dag:
        DvcTaskGroup("first", root=root, select=["dvc.yaml"])
        DvcTaskGroup("second", root=root, select=["etl/dvc.yaml"])
        DvcTaskGroup("third", root=tmp_path, prefix_group_id=True)
    assert {"prepare", "etl/dvc.yaml:load"} <= set(dag.params.get_param("dvc_stage").schema["enum"])
    assert dag.params.get_param("dvc_third_stage").schema["enum"] == ["all", "load"]


def test_a_param_of_the_dags_own_keeps_its_name_and_its_meaning(root: Path) -> None:
    own: dict[str, Any] = {"stage": "mine", "scope": 1, "force": True}
    titled = Param("x", title="Mine", type="string")
    with DAG("own", schedule=None, start_date=START, params={**own, "titled": titled}) as dag:
        DvcTaskGroup("stages", root=root)
    assert {name: dag.params[name] for name in own} == own
    assert dag.params.get_param("titled").schema["title"] == "Mine"
    with (
        DAG("own", schedule=None, start_date=START, params={"dvc_force": "mine"}),
        pytest.raises(OptionsError, match="params of its own named dvc_force"),
    ):
        DvcTaskGroup("stages", root=root)


def test_several_dags_over_one_repository_are_joined_by_the_outs(tmp_path: Path) -> None:
    root = tmp_path / "mono"
    clean = {"cmd": "cp ../raw clean", "deps": ["../raw"], "outs": ["clean", "rejected"]}
    repository(
        root, {"fit": {"cmd": "cp etl/clean model", "deps": ["etl/clean"], "outs": ["model"]}}
    )
    (root / "etl").mkdir()
    (root / "etl/dvc.yaml").write_text(yaml.safe_dump({"stages": {"clean": clean}}))
    etl = DvcDag("etl", root=root, select=["etl/dvc.yaml"], schedule="@daily", start_date=START)
    part: dict[str, Any] = {"root": root, "select": ["dvc.yaml"]}
    fit = DvcDag("fit", **part, schedule=upstream_assets(**part), start_date=START)
    assert set(etl.stages) == {"etl/dvc.yaml:clean"}
    assert set(fit.stages) == {"fit"}
    assert isinstance(fit.schedule, AssetAny)
    assert list(fit.schedule.objects) == [asset_of("mono", "etl/clean")]
    assert asset_of("mono", "etl/clean") in etl.stages["etl/dvc.yaml:clean"].outlets
    assert fit.params.get_param("dvc_stage").schema["enum"] == ["all", "fit"]
    with pytest.raises(OptionsError, match="read from no other stages"):
        upstream_assets(root, select=["etl/dvc.yaml"])


def drawn_edges(dag: DAG) -> set[tuple[str, str]]:
    """The edges that the UI draws, as its API has them."""
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    return {(edge["source_id"], edge["target_id"]) for edge in dag_edges(stored)}


def test_a_task_waits_for_the_end_of_all_stages_by_few_edges(root: Path) -> None:
    with DAG("ended", schedule=None, start_date=START) as dag:
        group = DvcTaskGroup("stages", root=root)
        alert = BaseOperator(task_id="alert", trigger_rule="all_done")
        group.ended_before(alert)
    assert alert.upstream_task_ids == {"train.a", "train.b", "evaluate", task_id_of(LOAD)}
    assert {source for source, target in drawn_edges(dag) if target == "alert"} == {
        "stages.downstream_join_id",
        "train.downstream_join_id",
    }


def test_a_task_waits_for_each_stage_where_a_skip_ends_those_after_it(root: Path) -> None:
    with DAG("ended", schedule=None, start_date=START):
        arguments = {"trigger_rule": "all_success"}
        group = DvcTaskGroup("stages", root=root, operator_args=arguments)
        alert = BaseOperator(task_id="alert", trigger_rule="all_done")
        group.ended_before(alert)
    assert alert.upstream_task_ids == {one.task_id for one in group.stages.values()}


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


def test_airflow_finds_the_dag_files_of_the_documentation() -> None:
    """Its search leaves out a file that has not both words in it."""
    pages = [(ROOT / "docs" / name).read_text() for name in ("your-pipeline.md", "api.md")]
    blocks = [text for page in pages for text in re.findall(r"```python\n(.*?)```", page, re.S)]
    files = [text for text in blocks if re.search(r"DvcDag\(\"|with DAG\(", text)]
    assert len(files) > 3
    assert all("airflow" in text.lower() for text in files), files

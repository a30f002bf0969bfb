"""`env` and `resources` of a stage's `meta.airflow`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import models as k8s

from housing.engine import DvcDag
from housing.engine.airflow.operator import DvcStageOperator
from housing.engine.errors import GraphError
from housing.engine.execution.stage_run import StageRun
from tests.repository import make_repository

START = datetime(2026, 1, 1, tzinfo=UTC)


def task(root: Path, meta: dict[str, Any], **operator_args: object) -> DvcStageOperator:
    make_repository(root, git=False)
    stages = {"train": {"cmd": "true", "meta": {"airflow": meta}}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    dag = DvcDag("d", root=root, operator_args=operator_args, schedule=None, start_date=START)
    return dag.stages["train"]


def spec(task: DvcStageOperator) -> dict[str, Any]:
    assert task.executor_config
    content: dict[str, Any] = task.executor_config["pod_override"].to_dict()["spec"]
    return content


def quantities(task: DvcStageOperator) -> tuple[dict[str, str], dict[str, str]]:
    found = {c["name"]: c["resources"] for c in spec(task)["containers"]}["base"]
    return found["requests"], found["limits"]


def test_resources_are_what_the_pod_of_the_stage_gets(tmp_path: Path) -> None:
    asked = {"cpu": 0.5, "memory": "8Gi", "gpu": 1}
    wanted = {"cpu": "0.5", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert quantities(task(tmp_path, {"resources": asked})) == (wanted, wanted)


def test_the_pod_that_all_stages_get_keeps_what_a_stage_does_not_name(tmp_path: Path) -> None:
    common = k8s.V1ResourceRequirements(requests={"cpu": "1", "memory": "1Gi"})
    base = k8s.V1Container(name="base", image="churn:1", resources=common)
    pod = k8s.V1Pod(spec=k8s.V1PodSpec(containers=[base], node_selector={"disk": "ssd"}))
    made = task(tmp_path, {"resources": {"cpu": 4}}, executor_config={"pod_override": pod})
    assert quantities(made) == ({"cpu": "4", "memory": "1Gi"}, {"cpu": "4"})
    (container,) = spec(made)["containers"]
    assert (container["image"], spec(made)["node_selector"]) == ("churn:1", {"disk": "ssd"})
    assert common.requests == {"cpu": "1", "memory": "1Gi"}, "the pod of all stages changed"


def test_without_kubernetes_resources_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("housing.engine.airflow.pod.find_spec", lambda _: None)
    assert task(tmp_path, {"resources": {"cpu": 4}}).executor_config == {}


def test_a_stages_variables_add_to_those_of_all(tmp_path: Path) -> None:
    made = task(tmp_path, {"env": {"A": "stage"}}, env={"A": "all", "B": "all"})
    assert made.env == {"A": "stage", "B": "all"}


def test_a_command_gets_the_variables_whatever_their_names(tmp_path: Path) -> None:
    make_repository(tmp_path, git=False)
    # It cannot be told apart from a database's password by its name; who asks for it gets it.
    given = {"OMP_NUM_THREADS": "2", "DB_PASSWORD": "a b'c$d"}
    stages = {"s": {"cmd": 'echo "$OMP_NUM_THREADS $DB_PASSWORD" > out', "outs": ["out"]}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    StageRun(tmp_path, "s", env=given).reproduce()
    assert (tmp_path / "out").read_text() == "2 a b'c$d\n"
    assert StageRun(tmp_path, "s").reproduce().state == "unchanged", "DVC does not know them"


@pytest.mark.parametrize(
    ("meta", "key", "fault"),
    [
        ({"env": {"A": 1}}, "env.A", "valid string"),
        ({"env": {"A-B": "x"}}, "env.A-B", "should match pattern"),
        ({"env": "A=1"}, "env", "valid dictionary"),
        ({"resources": {"cpu": 0}}, "resources.cpu", "greater than 0"),
        ({"resources": {"memory": "8GB"}}, "resources.memory", "should match pattern"),
        ({"resources": {"gpu": "many"}}, "resources.gpu", "valid integer"),
        ({"resources": {"disk": "1Gi"}}, "resources.disk", "not permitted"),
    ],
)
def test_a_fault_names_file_stage_and_key(
    tmp_path: Path, meta: dict[str, Any], key: str, fault: str
) -> None:
    with pytest.raises(GraphError, match=fault) as told:
        task(tmp_path, meta)
    assert f"dvc.yaml, stage train: meta.airflow.{key}" in told.value.fact

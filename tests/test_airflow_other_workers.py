"""Workers that do not share the workspace are told apart from those that do."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from housing.engine.airflow import other_workers
from housing.engine.errors import EngineError
from housing.engine.execution import stage_run
from tests.airflow_project import Project

STAGES = {
    "first": {"cmd": "echo 1 > first.txt", "outs": ["first.txt"]},
    "second": {"cmd": "cp first.txt second.txt", "deps": ["first.txt"], "outs": ["second.txt"]},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = Project.make(tmp_path_factory.mktemp("other_workers") / "p", STAGES).root
    return root, stage_run.reproduce(root, "first").to_dict()


def compare(root: Path, record: object) -> None:
    ti = SimpleNamespace(
        task_id="second", xcom_pull=lambda task_ids: record if task_ids == "first" else None
    )
    other_workers.compare(ti, root, "second", ["first", "sub/dvc.yaml:other"])


@pytest.fixture
def celery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")


def elsewhere(record: dict[str, Any], **out: str) -> dict[str, Any]:
    return record | {"host": "worker-2", "outs": [record["outs"][0] | out]}


@pytest.mark.usefixtures("celery")
def test_a_worker_that_shares_the_workspace_goes_on(done: tuple[Path, dict[str, Any]]) -> None:
    root, record = done
    assert record["host"] == socket.gethostname()
    compare(root, None)  # left out of the run
    compare(root, record)
    compare(root, elsewhere(record))


@pytest.mark.usefixtures("celery")
def test_a_worker_with_another_result_names_both_hosts(done: tuple[Path, dict[str, Any]]) -> None:
    root, record = done
    with pytest.raises(EngineError) as caught:
        compare(root, elsewhere(record, md5="0" * 32))
    assert "on worker-2" in caught.value.fact
    assert f"on {socket.gethostname()}" in caught.value.fact
    with pytest.raises(EngineError, match="and nothing on"):
        compare(root, elsewhere(record, path="other.txt"))


def test_on_one_machine_nothing_is_asked(done: tuple[Path, dict[str, Any]]) -> None:
    root, record = done
    compare(root, elsewhere(record, md5="0" * 32))

"""A task that is killed takes its command along, and the next try just works."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from housing.engine.errors import StageFailedError
from tests.airflow_project import Project

SLOW = {
    "slow": {
        "cmd": "test -e fast || { sleep 300 & echo $! $$ > pids.part; mv pids.part pids; wait; }; "
        "echo whole > out.txt",
        "outs": ["out.txt"],
    }
}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_killed_task_ends_the_command_and_all_its_children(tmp_path: Path) -> None:
    project = Project.make(tmp_path / "p", SLOW)
    driver = project.start(("true", {}), ("touch fast", {}))
    pids = project.root / "pids"
    while not pids.exists():
        assert driver.poll() is None, project.log.read_text()[-4000:]
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGTERM)  # as Airflow's supervisor does to a task's process
    killed, retried = project.finish(driver)
    assert killed["states"]["slow"] == "failed"
    assert killed["state"] == "failed"
    assert not any(alive(int(pid)) for pid in pids.read_text().split())
    assert retried["states"]["slow"] == "success"
    assert (project.root / "out.txt").read_text() == "whole\n"


def test_a_kill_that_comes_before_the_run_begins_prevents_it(tmp_path: Path) -> None:
    from housing.engine.airflow.operator import DvcStageOperator

    project = Project.make(
        tmp_path / "p", {"quick": {"cmd": "echo > out.txt", "outs": ["out.txt"]}}
    )
    task = DvcStageOperator(task_id="quick", stage="quick", root=str(project.root))
    task.on_kill()
    context: Any = {
        "params": {},
        "ti": SimpleNamespace(
            dag_id="tiny", run_id="a_run", try_number=1, max_tries=0, xcom_push=lambda **_: None
        ),
    }
    with pytest.raises(StageFailedError, match="was stopped"):
        task.execute(context)
    assert not (project.root / "out.txt").exists()

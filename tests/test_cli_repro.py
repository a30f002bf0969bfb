"""``housing repro`` waits for a run that is going on, and stops when a person asks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from housing.engine.execution import lockfile, stage_run
from tests.conftest import MakeRepo
from tests.test_pipeline_kill import in_child, wait_until

HOUSING = Path(sys.executable).with_name("housing")
DVC_YAML = """
stages:
  slow: {cmd: "echo > began; while [ ! -e go ]; do sleep .05; done; cp in.txt slow.txt; echo Slow",
         deps: [in.txt], outs: [slow.txt]}
  after: {cmd: cp slow.txt after.txt, deps: [slow.txt], outs: [after.txt]}
  other: {cmd: "echo > other.txt", outs: [other.txt]}
"""


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    return make_repo({"dvc.yaml": DVC_YAML, "in.txt": "1\n"})


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [HOUSING, "repro", *arguments],
        cwd=root,
        env={**os.environ, "HOUSING_ROOT": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_waits_for_a_stage_that_a_task_runs(root: Path) -> None:
    task = in_child(lambda: stage_run.reproduce(root, "slow"))
    wait_until((root / "began").exists)
    person = start(root, "after", "--json")
    assert person.stderr is not None
    assert person.stderr.readline() == "waiting for stage slow, which somebody else runs\n"
    (root / "go").touch()
    said, _ = person.communicate()
    assert person.returncode == 0
    assert os.waitpid(task, 0)[1] == 0
    states = {record["stage"]: record["state"] for record in json.loads(said)}
    assert states == {"slow": "unchanged", "after": "ran"}
    assert lockfile.read(root).keys() == {"slow", "after"}


def test_an_interrupt_ends_the_command_and_what_would_follow(root: Path) -> None:
    person = start(root)
    wait_until((root / "began").exists)
    person.send_signal(signal.SIGINT)
    person.communicate()
    assert person.returncode == 130
    assert not lockfile.read(root)
    (root / "go").touch()
    again = start(root)
    said, _ = again.communicate()
    assert again.returncode == 0
    assert [line for line in said.splitlines() if line.endswith(": ran")] == [
        "slow: ran",
        "after: ran",
        "other: ran",
    ]
    assert "Slow" in said


def test_a_stage_that_fails_is_named(root: Path) -> None:
    (root / "dvc.yaml").write_text("stages: {bad: {cmd: exit 3}}")
    person = start(root)
    _, told = person.communicate()
    assert person.returncode == 1
    assert "error: stage bad ended with exit code 3: exit 3" in told

"""The approaches that the benchmarks compare are DAGs that can be loaded beside the project's."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from housing.engine import graph

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "approaches"
READ = """
import json, runpy, sys
sys.path.insert(0, sys.argv[1])
found = {}
for file in sys.argv[2:]:
    dag = runpy.run_path(file)["dag"]
    found[dag.dag_id] = [[task.task_id, getattr(task, "bash_command", "")] for task in dag.tasks]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def dags() -> dict[str, list[list[str]]]:
    """Task ids and shell commands of each DAG."""
    files = sorted(map(str, FOLDER.glob("approach_*.py")))
    command = [sys.executable, "-c", READ, str(FOLDER), *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[list[str]]] = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {Path(file).stem for file in files}
    return found


def test_each_ends_with_the_gate(dags: dict[str, list[list[str]]]) -> None:
    for dag, tasks in dags.items():
        names = {name for name, _ in tasks}
        assert {"validate_model", "promote_to_staging", "send_failure_alert"} <= names, dag


def test_what_is_written_by_hand_is_still_the_pipeline(dags: dict[str, list[list[str]]]) -> None:
    stages = graph.load(ROOT).stages
    scripts = {command for _, command in dags["approach_1_scripts"] if "stages/" in command}
    assert scripts == {line for stage in stages for line in stage.cmd}
    shell = {command.split()[-1] for _, command in dags["approach_4_shell"] if command}
    assert shell == {stage.name for stage in stages}


def test_the_pages_numbers_are_those_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from tables import with_tables

    page = (ROOT / "docs/which-approach.md").read_text(encoding="utf-8")
    content = json.loads((ROOT / "benchmarks/results/approaches.json").read_text(encoding="utf-8"))
    assert with_tables(page, content) == page
    content["days"]["samples"]["dvc repro, day 3"]["seconds"] = [123.4]
    assert "123.4" in with_tables(page, content)


def test_no_stage_grows_faster_than_its_rows() -> None:
    content = json.loads((ROOT / "benchmarks/results/approaches.json").read_text(encoding="utf-8"))
    sizes = sorted(int(part.split()[1]) for part in content if part.startswith("growth "))
    for few, many in pairwise(sizes):
        before, after = (content[f"growth {rows}"]["samples"] for rows in (few, many))
        for stage in before.keys() & after.keys():
            share = after[stage]["cpu_seconds"] / before[stage]["cpu_seconds"] / (many / few)
            # What the host gives differs by more than the 5 % that were measured at most.
            assert share < 1.15, f"{stage}: {many} rows take {share:.2f} times as much each"

"""Nothing that comes from data, names or forms is rendered as a template, in any DAG of dags/."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_project import Project

ROOT = Path(__file__).parent.parent
TASKS = """
import json, runpy, sys
from airflow.sdk import DAG
found = {}
for file in sys.argv[1:]:
    for dag in runpy.run_path(file).values():
        if isinstance(dag, DAG):
            assert not dag.user_defined_macros and not dag.render_template_as_native_obj
            found |= {f"{dag.dag_id}.{task.task_id}": {
                "fields": [*task.template_fields, *task.template_ext],
                "index": task.map_index_template,
            } for task in dag.tasks}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Template fields of every task of every DAG, mapped ones too."""
    root = tmp_path_factory.mktemp("templates")
    stages = {"one": {"cmd": "echo {{ 1 / 0 }} > one.txt", "outs": ["one.txt"]}}
    project = Project.make(root, stages)
    shutil.copy(ROOT / "params.yaml", root)
    files = sorted(map(str, (ROOT / "dags").glob("*.py")))
    done = subprocess.run(
        [sys.executable, "-c", TASKS, *files],
        env=project.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    assert {name.partition(".")[0] for name in found} == {Path(file).stem for file in files}
    return found


def test_no_task_has_a_template_field(tasks: dict[str, dict[str, Any]]) -> None:
    assert {name: task["fields"] for name, task in tasks.items() if task["fields"]} == {}


def test_the_one_template_is_written_in_its_dag_file(tasks: dict[str, dict[str, Any]]) -> None:
    """Its result is text, which Airflow renders no further."""
    found = {name: task["index"] for name, task in tasks.items() if task["index"]}
    assert found == {"housing_batch_scoring.score_file": "{{ task.file.split('/')[-1] }}"}

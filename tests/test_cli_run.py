"""`housing run` where a stage fails: what the screen says, and where the logs are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.airflow_driver import copy_database
from tests.airflow_project import DAG, Project

ROOT = Path(__file__).parents[1]


def test_a_stage_that_fails_says_so_on_the_screen_and_in_airflows_log(tmp_path: Path) -> None:
    stages = {
        "good": {"cmd": "echo fine; echo 1 > good.txt", "outs": ["good.txt"]},
        # Bytes that are no UTF-8, and a colour that is markup to some.
        "bad": {
            "cmd": "printf 'caf\\351 [red]is closed\\n'; exit 3",
            "outs": [{"reports/evaluation_report.json": {"cache": False, "persist": True}}],
        },
    }
    project = Project.make(tmp_path / "p", stages)
    root, home = project.root, project.root / ".airflow"
    (root / "dag.py").write_text(DAG.replace('DAG("tiny"', 'DAG("housing_ml_pipeline"'))
    copy_database(home)
    (root / "reports").mkdir()
    shutil.copy(ROOT / "params.yaml", root)
    (root / "reports" / "evaluation_report.json").write_text("of an earlier result")
    command = [str(Path(sys.executable).with_name("housing")), "run"]
    done = subprocess.run(
        command, cwd=root, env=project.env(), capture_output=True, text=True, check=False
    )
    said = done.stdout
    assert done.returncode == 1, said + done.stderr
    assert done.stderr == ""
    assert "good: ran" in said
    assert "caf\\xe9 [red]is closed" in said
    assert "exit code 3" in said
    assert "model " not in said, "nothing was evaluated"

    (run,) = (home / "logs" / "dag_id=housing_ml_pipeline").iterdir()
    logs = {
        path.parent.name: [json.loads(line)["event"] for line in path.read_text().splitlines()]
        for path in run.glob("*/attempt=1.log")
    }
    assert set(logs) == {"task_id=good", "task_id=bad", "task_id=alert", "task_id=summary"}
    assert "fine" in logs["task_id=good"]
    assert "good: ran" in logs["task_id=good"]
    assert "caf\\xe9 [red]is closed" in logs["task_id=bad"]
    assert str(run / "task_id=bad" / "attempt=1.log") in said.replace("\n", "")

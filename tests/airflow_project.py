"""A tiny DVC repository with a DAG of its own, run by `airflow_driver`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.repository import make_repository

if TYPE_CHECKING:
    from tests.synthetic import Workspace

HERE = Path(__file__).parent
DAG = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.sdk import DAG
from housing.orchestration.finish_tasks import FailureAlertOperator, SummaryOperator
from housing.engine.airflow.task_group import DvcTaskGroup
from housing.orchestration.house_workspace import apply_overrides

root = Path(__file__).parent
# Params of its own that are named like the options of a run, and are none.
with DAG("tiny", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None,
         params={"stage": "mine", "scope": "only", "force": "all", "plan": True}):
    group = DvcTaskGroup("stages", root=root, name="tiny",
                         operator_args={"apply_overrides": apply_overrides})
    tasks = group.stages
    alert = FailureAlertOperator(task_id="alert", validate="gate")
    summary = SummaryOperator(
        task_id="summary", root=str(root), validate="gate", promote="promotion",
        stages={task.task_id: name for name, task in tasks.items()})
    group.ended_before(alert)
    alert >> summary
"""


def run_beside(workspace: Workspace, **variables: str) -> dict[str, Any]:
    """Runs the DAG of a synthetic result's folder once, with that result's MLflow."""
    (result,) = run_steps_beside(workspace, ("true", {}), **variables)
    return result


def run_steps_beside(
    workspace: Workspace, *steps: tuple[str, dict[str, Any]], **variables: str
) -> list[dict[str, Any]]:
    """Runs the DAG of a synthetic result's folder for each step, with that result's MLflow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", workspace.store)
        patch.setenv("HOUSING_EXPERIMENT", workspace.experiment)
        for name, value in variables.items():
            patch.setenv(name, value)
        return Project(workspace.root).run(*steps)


@dataclass(frozen=True)
class Project:
    """A tiny project in a folder of its own."""

    root: Path

    @classmethod
    def make(cls, root: Path, stages: dict[str, Any], **files: str) -> Project:
        """Makes a DVC repository with these stages."""
        make_repository(root)
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        (root / "dag.py").write_text(DAG)
        (root / ".dvcignore").write_text("/.airflow\n/.housing\n")
        for name, text in files.items():
            (root / name).write_text(text)
        return cls(root)

    def env(self) -> dict[str, str]:
        """The environment of everything that runs here."""
        return {
            **os.environ,
            "AIRFLOW_HOME": str(self.root / ".airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.root),
            "DVC_SITE_CACHE_DIR": str(self.root / ".dvc/tmp/site"),
            "HOUSING_ROOT": str(self.root),
            "HOUSING_RETRIES": "0",
        }

    def start(self, *steps: tuple[str, dict[str, Any] | None]) -> subprocess.Popen[str]:
        """Starts to run the DAG once for each step: a shell command first, then these params.

        Without params the run before is cleared, and runs again.
        """
        content = json.dumps([{"shell": shell, "conf": conf} for shell, conf in steps])
        (self.root / "steps.json").write_text(content)
        with (self.root / "steps.json").open() as given, self.log.open("w") as log:
            return subprocess.Popen(
                [sys.executable, HERE / "airflow_driver.py", self.root / "dag.py", "tiny"],
                stdin=given,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.root,
                env=self.env(),
                text=True,
            )

    def finish(self, driver: subprocess.Popen[str]) -> list[dict[str, Any]]:
        """Waits for what `start` started; one result for each step."""
        code = driver.wait()
        log = self.log.read_text()
        assert code == 0, log[-4000:]
        results: list[dict[str, Any]] = json.loads(log.splitlines()[-1])
        return results

    def run(self, *steps: tuple[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
        """Runs the DAG once for each step, and waits."""
        return self.finish(self.start(*steps))

    @property
    def log(self) -> Path:
        """Everything that the tasks logged."""
        return self.root / "driver.log"

    def summary(self, result: dict[str, Any]) -> dict[str, Any]:
        """The JSON file that the summary of a run left."""
        path = self.root / ".housing" / "runs" / f"{result['run_id']}.json"
        content: dict[str, Any] = json.loads(path.read_text())
        return content

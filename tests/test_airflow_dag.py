"""The DAG file: what it renders, what it imports, what it says of a fault."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from zc.lockfile import LockFile

from housing.engine import graph
from housing.engine.airflow.task_ids import task_id_of
from housing.engine.graph import manifest
from housing.engine.graph.selection import last_to_end
from tests.airflow_project import Project

HERE = Path(__file__).parent
ROOT = HERE.parent
DAG_FILE = ROOT / "dags" / "housing_ml_pipeline.py"
HEAVY = ["dvc", "mlflow", "numpy", "pandas", "polars", "pyarrow", "sklearn", "xgboost"]
RENDERED = """
import json, runpy, sys
heavy = sys.argv[2:]
dag = runpy.run_path(sys.argv[1])["dag"]
loaded = [name for name in heavy if name in sys.modules]
from datetime import UTC, datetime
import airflow.timetables.trigger as core
from airflow.timetables.base import TimeRestriction
core.utcnow = lambda: datetime(2026, 5, 1, 0, 20, tzinfo=UTC)
cron = dag.schedule.timetable
cron = core.CronTriggerTimetable(
    cron.expression, timezone="UTC", run_immediately=cron.run_immediately)
limits = TimeRestriction(dag.start_date, None, dag.catchup)
first = cron.next_dagrun_info(last_automated_data_interval=None, restriction=limits)
print(json.dumps({
    "tasks": {t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks},
    "docs": {t.task_id: t.doc_md for t in dag.tasks},
    "owners": sorted({t.owner for t in dag.tasks}),
    "retries": sorted({(t.retries, t.retry_delay.total_seconds()) for t in dag.tasks}),
    "dag": [dag.catchup, dag.max_active_runs, dag.doc_md],
    "first": str(first.run_after),
    "run_types": sorted(dag.allowed_run_types),
    "schedule": [dag.schedule.timetable.expression, dag.schedule.asset_condition.name],
    "heavy": loaded,
}))
"""
# What the DAG file itself wires: everything else is a stage.
AFTER = {
    "validate_model",
    "promote_to_staging",
    "send_failure_alert",
    "notify_slack",
    "notify_mail",
    "update_dashboard",
    "summarize_run",
}


def render(root: Path) -> dict[str, Any]:
    """Runs the DAG file on a project, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", RENDERED, str(DAG_FILE), *HEAVY],
        env=Project(root).env() | {"HOUSING_RETRIES": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("housing") / "p"
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    keep_graph(root)
    return render(root)


def keep_graph(root: Path) -> None:
    """Resolves the graph with DVC, which a DAG file does at the first look alone."""
    while not (root / manifest.MANIFEST).exists():  # it keeps nothing of files this young
        graph.load(root)


def test_the_tasks_and_edges_are_those_of_dvc(rendered: dict[str, Any]) -> None:
    stages = {task: ups for task, ups in rendered["tasks"].items() if task not in AFTER}
    assert set(rendered["tasks"]) > AFTER
    assert stages == {
        task_id_of(stage.name): sorted(map(task_id_of, stage.upstream))
        for stage in graph.load(ROOT).stages
    }


def test_the_alert_waits_for_every_stage(rendered: dict[str, Any]) -> None:
    stages = {task: ups for task, ups in rendered["tasks"].items() if task not in AFTER}
    in_order = {name: stages[name] for name in map(task_id_of, graph.load(ROOT).names)}
    assert last_to_end(in_order) < set(rendered["tasks"]["send_failure_alert"])


def test_the_dashboard_follows_promotion_and_alert(rendered: dict[str, Any]) -> None:
    assert rendered["tasks"]["update_dashboard"] == ["promote_to_staging", "send_failure_alert"]
    assert "update_dashboard" in rendered["tasks"]["summarize_run"]


def test_the_settings_of_the_design_are_kept(rendered: dict[str, Any]) -> None:
    assert rendered["owners"] == ["ml-platform"]
    # A notification tries again by itself.
    assert rendered["retries"] == [[0, 300.0], [2, 300.0]]
    catchup, active, doc = rendered["dag"]
    assert (catchup, active) == (False, 1)
    assert rendered["schedule"] == ["0 0 * * *", "housing/data/landing"]
    assert doc
    assert {"asset_triggered", "manual", "scheduled"} < set(rendered["run_types"])
    assert "backfill" not in rendered["run_types"]


def test_the_first_delivery_starts_the_first_run_and_midnight_no_other(
    rendered: dict[str, Any],
) -> None:
    # Of a DAG that Airflow sees first at 00:20 on May 1.
    assert rendered["first"].startswith("2026-05-02")


def test_every_task_says_what_it_is_for(rendered: dict[str, Any]) -> None:
    assert all(rendered["docs"].values())
    for stage in graph.load(ROOT).stages:
        assert stage.desc in rendered["docs"][task_id_of(stage.name)]


def test_nothing_heavy_is_imported_to_parse_it(rendered: dict[str, Any]) -> None:
    assert rendered["heavy"] == []


def test_a_change_that_waits_for_dvcs_lock_is_told_on_the_dags_page(tmp_path: Path) -> None:
    root = Project.make(tmp_path / "p", {"one": {"cmd": "true"}}).root
    shutil.copy(ROOT / "params.yaml", root)
    keep_graph(root)
    (root / "dvc.yaml").write_text("stages: {one: {cmd: 'true'}, two: {cmd: 'true'}}\n")
    lock = LockFile(str(root / ".dvc/tmp/lock"))  # type: ignore[no-untyped-call]  # untyped
    try:
        found = render(root)
    finally:
        lock.close()  # type: ignore[no-untyped-call]  # as above
    assert "one" in found["tasks"]
    assert "two" not in found["tasks"]
    assert f"before dvc.yaml changed: process {os.getpid()} (" in found["dag"][2]
    assert found["heavy"] == ["dvc"]


def test_bad_params_are_an_import_error_with_every_fault(tmp_path: Path) -> None:
    project = Project.make(tmp_path / "p", {"one": {"cmd": "true"}})
    shutil.copy(HERE / "params.yaml", project.root)
    text = (project.root / "params.yaml").read_text()
    text = text.replace("seed: 7", "seed: seven").replace("max_depth: 7", "max_dept: 7")
    (project.root / "params.yaml").write_text(text)
    shutil.copy(DAG_FILE, project.root / "dag.py")
    (result,) = project.run(("true", {}))
    (message,) = result["import_errors"]
    assert "params.yaml has 2 fault(s)" in message
    assert "pydantic" not in message
    assert "seed: Input should be a valid integer" in message
    assert "train.xgboost.max_dept: Extra inputs are not permitted" in message

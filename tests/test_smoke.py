"""The real DAG on a sample of the real data, through real Airflow task runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests.airflow_driver import copy_database

ROOT = Path(__file__).parents[1]
COPIED = ("housing", "stages", "dags", "plugins", "params.yaml", "dvc.yaml", ".dvcignore")
ROWS = 3_000


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a sample of the data, and limits that such a sample can keep."""
    root = tmp_path_factory.mktemp("smoke")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\nno_scm = true\n", encoding="utf-8")
    landing = root / "data" / "landing"
    landing.mkdir(parents=True)
    houses = pl.read_csv(ROOT / "data" / "landing" / "california_housing.csv")
    houses.sample(ROWS, seed=1).write_csv(landing / "sample.csv")
    gaps = {"max_coverage_gap": 0.1, "max_slice_coverage_gap": 0.2}
    change(root, {"min_r2": 0.4, "max_rmse": 90_000.0, **gaps})
    (root / ".gitignore").write_text("__pycache__\n", encoding="utf-8")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init",), ("add", "--all"), ("commit", "--message=m")):
        subprocess.run(["git", *who, *command], cwd=root, check=True, capture_output=True)
    copy_database(root / ".airflow")  # tests/test_cli_home.py lets a run make its own
    return root


def change(root: Path, gate: dict[str, float]) -> None:
    path = root / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["gate"].update(gate)
    params["evaluate"]["resamples"] = 100
    for settings in params["train"].values():
        settings["n_estimators"] = min(settings["n_estimators"], 60)
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def run(root: Path, *command: str, exit_code: int) -> dict[str, Any]:
    local = (ROOT / "local.env").read_text(encoding="utf-8").replace("${PWD}", str(root))
    pairs = (line.partition("=")[::2] for line in local.splitlines() if line and line[0] != "#")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "MLFLOW", "HOUS"))}
    env = {**kept, **dict(pairs), "HOME": str(root / "home")}
    housing = Path(sys.executable).with_name("housing")
    done = subprocess.run(
        [housing, *(command or ("run",)), "--json"],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def states(outcome: dict[str, Any]) -> set[str]:
    return {stage["state"] for stage in outcome["stages"]}


def test_cold_then_unchanged_then_rejected(project: Path) -> None:
    cold = run(project, exit_code=0)
    assert states(cold) == {"ran"}
    assert cold["verdict"]["passed"]
    assert cold["registry"] == {"model": "housing-price", "alias": "staging", "version": "1"}

    warm = run(project, exit_code=0)
    assert states(warm) == {"unchanged"}
    assert warm["verdict"]["unchanged"]
    assert warm["promotion"] is None
    assert warm["registry"]["version"] == "1"
    log = (project / ".housing" / "log" / "run.log").read_text(encoding="utf-8")
    assert "end task task_id=update_dashboard" not in log, "the page needs one line"
    assert "end task task_id=notify_slack" not in log, "there is nothing to tell"
    page = (project / ".housing/dashboard/index.html").read_text(encoding="utf-8")
    assert page.count('"state":"success","link"') == len((cold, warm))

    folder = project.parent / "again"
    again = run(project, "reproduce", "1", "--into", str(folder), exit_code=0)
    assert (again["absent"], again["differing"]) == ([], [])
    assert (folder / "models/xgboost.ubj").read_bytes() == (
        project / "models/xgboost.ubj"
    ).read_bytes()

    change(project, {"max_rmse": 1_000.0})
    rejected = run(project, exit_code=3)
    assert not rejected["verdict"]["passed"]
    assert rejected["promotion"] is None
    assert rejected["registry"]["version"] == "1"
    log = (project / ".housing" / "log" / "run.log").read_text(encoding="utf-8")
    assert "end task task_id=send_failure_alert" in log
    assert any("at most $1,000 is allowed" in line for line in log.splitlines())

    assert not (project / "home").exists(), "something was written to the home folder"

"""The tab in the Airflow UI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from housing.dashboard import page_file

TESTS = Path(__file__).parent
PLUGINS = TESTS.parent / "plugins"
HEAVY = ["altair", "fastapi", "mlflow", "polars", "vl_convert", "xgboost", "housing.dashboard"]


def run(root: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "s" * 64,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "HOUSING_ROOT": str(root),
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_page_is_served_to_people_who_are_logged_in(tmp_path: Path) -> None:
    page = page_file(tmp_path)
    seen = json.loads(run(tmp_path, str(TESTS / "dashboard_server.py"), str(page)))
    assert [view["url_route"] for view in seen["views"]] == ["housing"]
    assert seen["stranger"][0] == 401
    assert seen["missing"][0] == 404
    assert "housing dashboard" in seen["missing"][1]
    assert seen["found"] == [200, "<p>the page"]


def test_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import json, sys, airflow.plugins_manager; before = set(sys.modules);"
        "import housing.orchestration.plugin; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = json.loads(run(tmp_path, "-c", script))
    assert [name for name in loaded if name.startswith(tuple(HEAVY))] == []

"""The same bytes on every supported Python: one version of all that shapes an out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SHAPES_AN_OUT = (
    "dataframely",
    "numpy",
    "pandas",
    "polars",
    "polars-runtime-32",
    "pyarrow",
    "pydantic",
    "pydantic-core",
    "scipy",
    "xgboost",
    "xgboost-cpu",
)


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SHAPES_AN_OUT)
def test_the_lock_has_one_version_for_every_python(lock: dict[str, Any], name: str) -> None:
    versions = [found["version"] for found in lock["package"] if found["name"] == name]
    assert len(versions) == 1, f"uv.lock takes {name} {versions}, by the version of Python"


def test_both_kinds_of_xgboost_are_one_version(lock: dict[str, Any]) -> None:
    versions = {p["version"] for p in lock["package"] if p["name"] in {"xgboost", "xgboost-cpu"}}
    assert len(versions) == 1


def test_ci_compares_the_oldest_and_the_newest_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    least, below = project["requires-python"].removeprefix(">=").split(",<")
    newest = f"3.{int(below.split('.')[1]) - 1}"
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = ci["jobs"]["same-bytes"]
    assert job["strategy"]["matrix"]["python"] == [least, newest]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert "git diff --exit-code dvc.lock" in commands[-1]


def test_ci_runs_the_wheel_on_every_supported_airflow() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (airflow,) = (name for name in project["dependencies"] if name.startswith("apache-airflow>"))
    least, below = airflow.removeprefix("apache-airflow>=").split(",<")
    first, end = (int(version.split(".")[1]) for version in (least, below))
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = ci["jobs"]["wheel"]
    assert job["strategy"]["matrix"]["airflow"] == [f"3.{minor}" for minor in range(first, end)]
    assert job["steps"][-1]["run"] == "make wheel-test AIRFLOW=${{ matrix.airflow }}"


def test_a_machine_without_a_fitting_python_is_told_which(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for name in ("Makefile", "scripts/uv", "uv.lock", "pyproject.toml", "local.env"):
        shutil.copy(ROOT / name, tmp_path / name)
    project = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    strange = re.sub('requires-python = "[^"]*"', 'requires-python = ">=3.98,<3.99"', project)
    (tmp_path / "pyproject.toml").write_text(strange, encoding="utf-8")
    path = f"{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "run"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "VIRTUAL_ENV": "", "UV_PYTHON": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "error: this machine has no Python >=3.98,<3.99" in done.stderr
    assert "UV_PYTHON_DOWNLOADS=automatic make run" in done.stderr

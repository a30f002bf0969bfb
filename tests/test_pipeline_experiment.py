"""What a stage's script takes for the root where ``dvc exp run`` works in a copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MakeRepo

PROJECT = Path(__file__).parents[1]
SCRIPT = """
import json
from housing.settings import load_settings
from housing.engine.stage_notes import note_links
settings = load_settings()
note_links({"of": open("params.yaml").read().strip()})
told = {"root": str(settings.root), "store": settings.store,
        "artifacts": settings.artifact_location,
        "params": (settings.root / "params.yaml").read_text()}
with open("told.json", "w") as file:
    json.dump(told, file)
"""
STAGES = """
stages:
  tell: {cmd: "%s tell.py", deps: [tell.py], params: [x], metrics: [{told.json: {cache: false}}]}
"""


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    files = {"dvc.yaml": STAGES % sys.executable, "params.yaml": "x: 1\n", "tell.py": SCRIPT}
    root = make_repo({**files, ".gitignore": "/.mlflow\n"})
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    subprocess.run(["git", *who, "commit", "-qm", "first"], cwd=root, check=True)
    return root


def dvc(root: Path, *arguments: str, **more: str) -> str:
    # MLflow's client notes in the environment which store a fixture spoke to last.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TR")}
    env |= {"PYTHONPATH": str(PROJECT), "GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "e"}
    env |= {"GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "e", **more}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("given", [True, False], ids=["HOUSING_ROOT is set", "it is not"])
def test_an_experiment_in_a_copy_is_about_the_copy(given: bool, root: Path) -> None:
    more = {"HOUSING_ROOT": str(root)} if given else {}
    dvc(root, "exp", "run", "--temp", "--set-param", "x=51", "--name", "tried", **more)
    told = json.loads(
        subprocess.run(
            ["git", "show", "refs/exps/" + _experiment(root) + ":told.json"],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    assert told["params"] == "x: 51\n"
    assert Path(told["root"]) != root
    # What MLflow is told must outlive the copy.
    assert told["store"] == f"sqlite:///{root}/.mlflow/mlflow.db"
    assert told["artifacts"] == (root / ".mlflow/artifacts").as_uri()
    assert not list((root / ".dvc/tmp").glob("housing/links/*")), "the copy's links are its own"


def _experiment(root: Path) -> str:
    found = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname)", "refs/exps"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (name,) = (line for line in found.stdout.split() if line.endswith("/tried"))
    return name.removeprefix("refs/exps/")


def test_a_plain_run_is_about_the_repository(root: Path) -> None:
    dvc(root, "repro", HOUSING_ROOT="/somewhere/else")
    told = json.loads((root / "told.json").read_text())
    assert Path(told["root"]) == root
    assert told["store"] == f"sqlite:///{root}/.mlflow/mlflow.db"
    (links,) = (root / ".dvc/tmp/housing/links").iterdir()
    assert json.loads(links.read_text()) == {"of": "x: 1"}

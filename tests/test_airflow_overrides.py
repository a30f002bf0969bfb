"""A run with overridden parameters, in a workspace of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from housing.engine import graph
from housing.engine.airflow.run_place import COPY, PARTIAL
from housing.engine.airflow.task_ids import folder_of
from housing.engine.airflow.workspace import FOLDER, Workspace
from housing.engine.errors import OptionsError
from tests.airflow_project import Project
from tests.repository import make_repository

PARAMS = Path(__file__).parent / "params.yaml"
STAGES = {
    "copy": {"cmd": "sleep 0.1; cp in/seed seed.txt", "deps": ["in"], "outs": ["seed.txt"]},
    "train": {
        "cmd": 'echo "$HOUSING_OVERRIDES" >> $SEEN; cat seed.txt > model.txt; '
        "grep -A9 booster..gbtree params.yaml >> model.txt",
        "deps": ["seed.txt"],
        "params": ["train.xgboost.max_depth"],
        "outs": ["model.txt"],
    },
    "each": {
        "matrix": {"name": "${candidates}"},
        "cmd": "echo ${item.name} > ${item.name}.txt",
        "outs": ["${item.name}.txt"],
    },
}
OVERRIDES = ["train.xgboost.max_depth=8"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("overrides") / "p"
    (root / "in").mkdir(parents=True)
    (root / "in" / "seed").write_text("1\n")
    shutil.copy(PARAMS, root)
    return Project.make(root, STAGES)


@pytest.fixture(scope="module")
def runs(project: Project) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEN", str(project.root.parent / "seen"))
        return project.run(
            ("true", {}),
            ("cp dvc.lock ../before.lock", {"dvc_overrides": OVERRIDES}),
            ("cp dvc.lock ../after.lock", {"dvc_overrides": OVERRIDES}),
            # As tasks leave it that somebody clears later, and a run that Airflow forgot.
            (f"cd {FOLDER}; mkdir -p */{COPY}/data stray/{COPY}", {}),
            ("true", {"dvc_overrides": ["train.xgboost.max_dept=8", "seed=-1"]}),
            (
                "true",
                {
                    "dvc_overrides": ["train.xgboost.max_depth=9", "candidates=[xgboost]"],
                    "dvc_stage": "train",
                    "dvc_scope": "only",
                },
            ),
            ("true", {"dvc_overrides": ["candidates=[xgboost]"]}),
        )


def test_the_overridden_stage_runs_and_the_rest_comes_from_the_cache(
    project: Project, runs: list[dict[str, Any]]
) -> None:
    first = runs[1]["xcoms"]
    assert first["copy.return_value"]["state"] == "unchanged"
    assert first["copy.return_value"]["saved_seconds"] >= 0.1, "as the project's run took"
    assert first["train.return_value"]["state"] == "ran"
    (reason,) = [r for r in first["train.return_value"]["reasons"] if r["kind"] == "param"]
    assert (reason["before"], reason["after"]) == ("7", "8")
    assert runs[2]["xcoms"]["train.return_value"]["state"] == "restored"
    seen = (project.root.parent / "seen").read_text().splitlines()
    assert seen[:2] == ["", '["train.xgboost.max_depth=8"]']
    assert len(seen) == 3  # the last is that of the stage that ran alone
    assert project.summary(runs[1])["overrides"] == OVERRIDES


def test_the_normal_run_is_not_disturbed(project: Project, runs: list[dict[str, Any]]) -> None:
    assert (project.root / "params.yaml").read_bytes() == PARAMS.read_bytes()
    before, after = (
        (project.root.parent / f"{name}.lock").read_bytes() for name in ("before", "after")
    )
    assert before == after
    assert set(runs[3]["states"].values()) == {"skipped", "success"}
    assert project.summary(runs[3])["counts"] == {"unchanged": 4}
    status = [sys.executable, "-m", "dvc", "status", "--quiet"]
    assert subprocess.run(status, cwd=project.root, env=project.env(), check=False).returncode == 0


def test_nobody_is_told_of_new_data(runs: list[dict[str, Any]]) -> None:
    assert len(runs[0]["events"]) == 4
    assert runs[1]["events"] == {}


def test_the_workspace_is_removed(project: Project, runs: list[dict[str, Any]]) -> None:
    assert runs[1]["state"] == "success"
    made = [run["run_id"] for run in (runs[1], runs[2], runs[5], runs[6])]
    left = {
        place.name: [path.name for path in place.iterdir()]
        for place in (project.root / FOLDER).iterdir()
    }
    assert set(left) == {folder_of(f"tiny/{run_id}") for run_id in made}
    assert all(COPY not in names for names in left.values())


def test_a_wrong_override_fails_before_any_stage(runs: list[dict[str, Any]]) -> None:
    assert runs[4]["states"]["copy"] == "failed"
    assert runs[4]["states"]["train"] == "upstream_failed"
    assert "train.xgboost.max_dept: params.yaml has no such key" in runs[4]["xcoms"]["copy.error"]


def test_a_stage_can_run_alone_with_overrides(runs: list[dict[str, Any]]) -> None:
    assert runs[5]["states"] == {
        **dict.fromkeys(runs[5]["states"], "skipped"),
        "train": "success",
    } | {"summary": "success"}
    assert runs[5]["xcoms"]["train.return_value"]["state"] == "ran"


def test_a_stage_that_the_overrides_take_away_is_left_out(
    project: Project, runs: list[dict[str, Any]]
) -> None:
    assert runs[6]["state"] == "success"
    states = {line["stage"]: line["state"] for line in project.summary(runs[6])["stages"]}
    assert (states["each@linear"], states["each@xgboost"]) == ("left out", "unchanged")


def test_the_workspace_has_all_that_shapes_the_graph(tmp_path: Path) -> None:
    def dvc(root: Path, *arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout

    root = tmp_path / "p"
    make_repository(root)
    dvc(root, "remote", "add", "--default", "near", "../remote")
    shutil.copy(PARAMS, root)
    (root / "names.yaml").write_text("out: made.txt\n")
    (root / "raw").write_text("1\n")
    dvc(root, "add", "--quiet", "raw")
    stage = {"cmd": "cp raw ${out}", "deps": ["raw"], "outs": ["${out}"]}
    content = {"vars": ["names.yaml"], "stages": {"make": stage}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(content))
    workspace = Workspace.of(root, ("dag", "run"), ["seed=8"])
    with workspace.entered() as copy:
        assert graph.load(copy).stages == graph.load(root).stages
        assert dvc(copy, "remote", "list") == dvc(root, "remote", "list")
        assert dvc(copy, "status", "raw.dvc").strip() == "Data and pipelines are up to date."
    workspace.remove()
    assert not copy.exists()


def test_a_stage_that_the_overrides_add_has_no_task(tmp_path: Path) -> None:
    project = Project.make(tmp_path / "p", {"each": STAGES["each"]})
    text = PARAMS.read_text().replace("candidates: [linear, xgboost]", "candidates: [linear]")
    (project.root / "params.yaml").write_text(text)
    workspace = Workspace.of(project.root, ("dag", "run"), ["candidates=[linear, xgboost]"])
    with (
        pytest.raises(OptionsError, match="the overrides add each@xgboost, for which"),
        workspace.entered(),
    ):
        pass
    workspace.remove()
    assert not (workspace.place / PARTIAL).exists()


@pytest.mark.parametrize("run_id", [".", "..", "r" * 250, "manual__2026-11-25T18:30:42+00:00"])
def test_every_run_has_a_folder_of_its_own(tmp_path: Path, run_id: str) -> None:
    workspace, other = (
        Workspace.of(tmp_path, ("dag", name), ["seed=8"]) for name in (run_id, "other")
    )
    for root in (workspace.root, other.root):
        root.mkdir(parents=True)
        assert root.parent.parent == tmp_path / FOLDER
    workspace.remove()
    assert not workspace.root.exists()
    assert other.root.exists()


def test_a_task_that_is_cleared_later_finds_what_its_run_had_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = {
        "cmd": "grep max_depth params.yaml > model.txt",
        "params": ["train.xgboost.max_depth"],
        "outs": ["model.txt"],
    }
    project = Project.make(tmp_path / "p", {"train": stage})
    shutil.copy(PARAMS, project.root)
    command = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    workspace = Workspace.of(project.root, ("dag", "run"), OVERRIDES)
    with workspace.entered() as copy:
        subprocess.run(command, cwd=copy, env=project.env(), check=True)
        made = (copy / "model.txt").read_bytes()
        assert b"max_depth: 8" in made
        workspace.remove()
        assert copy.exists(), "a task works in it"
    assert not caplog.records, "that nothing was made yet is no warning"
    workspace.remove()
    assert not workspace.root.exists()
    with workspace.entered() as copy:
        assert (copy / "model.txt").read_bytes() == made

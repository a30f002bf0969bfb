"""A look at a stage tells whether it is unchanged, and leaves everything as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from housing.engine import graph
from housing.engine.errors import GraphError, StageBusyError
from housing.engine.execution import locks, stage_run
from housing.engine.execution.stage_run import StageRun
from tests.repository import make_repository

FILES = {
    "in.txt": "1\n",
    "raw.txt": "raw\n",
    "dvc.yaml": dedent("""
        stages:
          make: {cmd: cp in.txt out.txt && echo >> runs, deps: [in.txt], outs: [out.txt]}
          after: {cmd: cp out.txt last.txt, deps: [out.txt], outs: [last.txt]}
          tracked: {cmd: cp raw.txt copy.txt, deps: [raw.txt], outs: [copy.txt]}
          still: {cmd: echo still > still.txt, outs: [still.txt], frozen: true}
    """),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_repository(root, git=False)
    for name, text in FILES.items():
        (root / name).write_text(text)
    for name in ("make", "after"):
        stage_run.reproduce(root, name)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "p")


def content(root: Path) -> dict[str, bytes]:
    """Every file of a person and of DVC."""
    files = (path for path in root.rglob("*") if path.is_file())
    kept = (path for path in files if root / ".dvc/tmp" not in path.parents)
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


def test_an_unchanged_stage_is_told_as_a_run_tells_it(root: Path) -> None:
    looked, ran = StageRun(root, "make").look(), stage_run.reproduce(root, "make")
    assert looked is not None
    assert looked.to_dict() | {"seconds": 0} == ran.to_dict() | {"seconds": 0}
    assert looked.state == "unchanged"


@pytest.mark.parametrize("change", ["in.txt", "out.txt", "dvc.yaml"])
def test_a_changed_stage_is_left_as_it_is(root: Path, change: str) -> None:
    path = root / change
    path.chmod(0o644)
    path.write_text(path.read_text().replace("1\n", "2\n").replace("cp in.txt", "cp -p in.txt"))
    before = content(root)
    assert StageRun(root, "make").look() is None
    assert content(root) == before


def test_a_look_saves_no_data_of_a_dvc_file(root: Path) -> None:
    (root / "raw.txt.dvc").write_text("outs:\n- path: raw.txt\n")
    assert StageRun(root, "tracked").look() is None
    stage_run.reproduce(root, "tracked")
    (root / "raw.txt").write_text("new\n")
    before = content(root)
    assert StageRun(root, "tracked").look() is None
    assert content(root) == before


def test_a_frozen_stage_is_for_its_own_task(root: Path) -> None:
    assert StageRun(root, "still").look() is None


def test_a_look_waits_for_nobody(root: Path) -> None:
    node = graph.load(root)["make"]
    with locks.hold(root, node, 0, lambda: None):
        for name in ("make", "after"):
            with pytest.raises(StageBusyError, match="still runs stage make"):
                StageRun(root, name).look()


def test_without_dvc_only_what_it_found_before_counts(root: Path) -> None:
    assert StageRun(root, "make").look(ask_dvc=False) is None
    assert StageRun(root, "make").look() is not None
    looked = StageRun(root, "make").look(ask_dvc=False)
    assert looked is not None
    (root / "in.txt").write_text("2\n")
    assert StageRun(root, "make").look(ask_dvc=False) is None


def test_a_stage_that_is_not_there_is_an_error(root: Path) -> None:
    with pytest.raises(GraphError, match="no stage 'nope'"):
        StageRun(root, "nope").look()

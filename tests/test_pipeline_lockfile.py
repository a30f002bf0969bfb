"""A ``dvc.lock`` that a merge left in conflict, or that is no YAML: one error, and the way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from housing.engine import graph
from housing.engine.errors import GraphError
from housing.engine.execution import lockfile, stage_run
from tests.conftest import MakeRepo

DVC_YAML = "stages:\n  copy: {cmd: cp in.txt out.txt, deps: [in.txt], outs: [out.txt]}\n"


def sh(root: Path, *commands: str, code: int = 0) -> None:
    roles = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
    who = {f"GIT_{role}": "n" for role in roles}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=root, env=os.environ | who | {"PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"


def commit(root: Path, message: str) -> None:
    stage_run.reproduce(root, "copy")
    sh(root, "git add .", f"git commit -qm {message}")


@pytest.fixture
def merged(make_repo: MakeRepo) -> Path:
    """A repository in the middle of a merge: both sides ran the stage on their own input."""
    root = make_repo({"dvc.yaml": DVC_YAML, "in.txt": "first\n"})
    commit(root, "first")
    sh(root, "git checkout -qb side", "echo side > in.txt")
    commit(root, "side")
    sh(root, "git checkout -q -", "echo main > in.txt")
    commit(root, "main")
    sh(root, "git merge -q side", code=1)
    sh(root, "git checkout --theirs in.txt")
    assert "<<<<<<<" in (root / "dvc.lock").read_text()
    return root


def test_the_way_out_of_a_merge_works_as_it_is_typed(merged: Path) -> None:
    for read in (
        lambda: lockfile.read(merged),
        lambda: lockfile.check(merged, ["dvc.yaml"]),
        lambda: stage_run.reproduce(merged, "copy"),
    ):
        with pytest.raises(GraphError) as error:
            read()
        assert f"{merged}/dvc.lock has the conflict markers of a merge in line" in error.value.fact
    assert graph.load(merged).names == ("copy",), "what ran does not shape the graph"
    command, _, rest = error.value.hint.partition(";")
    sh(merged, command)
    assert stage_run.reproduce(merged, "copy").state == "unchanged"
    assert (merged / "out.txt").read_text() == "side\n"
    # The same where somebody committed the markers.
    sh(merged, "git add .", "git commit -qm merged")
    (merged / "dvc.lock").write_text("<<<<<<< HEAD\n=======\n>>>>>>> side\n")
    sh(merged, rest.partition(": ")[2])
    assert stage_run.reproduce(merged, "copy").state == "unchanged"


def test_a_damaged_lock_is_the_same_error_for_a_stage(make_repo: MakeRepo) -> None:
    root = make_repo({"dvc.yaml": DVC_YAML, "in.txt": "first\n"})
    commit(root, "first")
    for text in ("stages: [", "stages: {copy: {oust: 1}}\n", "schema: '9'\n"):
        (root / "dvc.lock").write_text(text)
        with pytest.raises(GraphError, match=r"dvc\.lock cannot be read") as error:
            stage_run.reproduce(root, "copy")
    sh(root, error.value.hint)
    assert stage_run.reproduce(root, "copy").state == "unchanged"


def test_every_broken_lock_is_named(make_repo: MakeRepo) -> None:
    root = make_repo(
        {
            "dvc.yaml": DVC_YAML,
            "dvc.lock": "<<<<<<< HEAD\n",
            "sub/dvc.yaml": "stages: {s: {cmd: x}}\n",
            "sub/dvc.lock": "3\n",
        }
    )
    with pytest.raises(GraphError) as error:
        lockfile.check(root, [node.file for node in graph.load(root).stages])
    assert [line.split()[0] for line in error.value.fact.splitlines()] == [
        str(root / "dvc.lock"),
        str(root / "sub/dvc.lock"),
    ]

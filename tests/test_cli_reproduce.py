"""``housing reproduce``: what a registry says of a version becomes a folder that makes it again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from housing.cli import reproduce
from housing.engine.execution import stage_run
from housing.errors import EvidenceError
from housing.mlops.registry.origin import Origin
from tests.conftest import MakeRepo

PARAMS = Path(__file__).parent / "params.yaml"
FILES = {
    "in.txt": "hello\n",
    "make.py": "print('first')\n",
    "params.yaml": PARAMS.read_text(encoding="utf-8"),
    "dvc.yaml": """
stages:
  a: {cmd: cat in.txt >a.txt && python make.py >>a.txt, deps: [in.txt, make.py], outs: [a.txt]}
  b: {cmd: cp a.txt b.txt && date +%N >>$SEEN, deps: [a.txt], params: [seed], outs: [b.txt]}
  note: {cmd: echo noted >>$SEEN, deps: [b.txt]}
""",
}


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def origin(make_repo: MakeRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origin:
    """A result with overridden params, whose project has moved on since."""
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    root = make_repo(FILES)
    commit(root)
    params = FILES["params.yaml"].replace("seed: 7", "seed: 8")
    assert params != FILES["params.yaml"]
    (root / "params.yaml").write_text(params)
    for stage in ("a", "b", "note"):
        stage_run.reproduce(root, stage)
    known = Origin(
        version="3",
        run_id="r",
        git_revision=git(root, "rev-parse", "HEAD"),
        params=params,
        lock=(root / "dvc.lock").read_text().partition("  note:")[0],  # it was recording this
    )
    (root / "make.py").write_text("print('later')\n")
    (root / "params.yaml").write_text(FILES["params.yaml"])
    for stage in ("a", "b"):
        stage_run.reproduce(root, stage)
    commit(root)
    monkeypatch.setenv("HOUSING_ROOT", str(root))
    monkeypatch.setattr(reproduce, "origin_of", lambda *_: known)
    return known


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "m")


def told(capsys: pytest.CaptureFixture[str], folder: Path, *, retrain: bool = False) -> object:
    capsys.readouterr()
    code = reproduce.reproduce_version("3", folder, retrain=retrain, as_json=True)
    said = capsys.readouterr().out
    content = json.loads(said[said.index("{") :])
    return code, content["absent"], content["differing"], content["other_bytes"]


@pytest.mark.usefixtures("origin")
def test_a_version_comes_back_and_is_made_again_with_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "again"
    ran = (tmp_path / "seen").read_text().count("\n")
    assert told(capsys, folder, retrain=True) == (0, [], [], [])
    assert (folder / "b.txt").read_text() == "hello\nfirst\n"
    assert "seed: 8" in (folder / "params.yaml").read_text()
    # `b` ran anew; `note`, which only tells others, did not.
    assert (tmp_path / "seen").read_text().count("\n") == ran + 1
    with pytest.raises(EvidenceError, match="is not empty"):
        reproduce.reproduce_version("3", folder, retrain=False, as_json=False)


def test_code_that_was_never_committed_is_named(
    origin: Origin,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = origin.model_copy(
        update={"git_revision": f"{git(tmp_path / 'repo', 'rev-parse', 'HEAD')}+"}
    )
    monkeypatch.setattr(reproduce, "origin_of", lambda *_: changed)
    assert told(capsys, tmp_path / "again", retrain=True) == (1, [], ["make.py"], [])


@pytest.mark.usefixtures("origin")
def test_what_is_nowhere_any_more_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tmp_path / "repo/.dvc/cache/files")
    assert told(capsys, tmp_path / "again") == (
        1,
        ["a.txt", "b.txt"],
        [],
        [],
    )


def test_a_commit_that_this_clone_lacks_is_named(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = origin.model_copy(update={"git_revision": "0" * 40})
    monkeypatch.setattr(reproduce, "origin_of", lambda *_: other)
    with pytest.raises(EvidenceError, match=r"0{40}.*\n.*git fetch --all"):
        reproduce.reproduce_version("3", tmp_path / "again", retrain=False, as_json=False)

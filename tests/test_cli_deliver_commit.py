"""``housing deliver`` where workers share no folder: by real git and DVC's remote."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from housing.cli.commit_delivery import commit_delivery as deliver
from housing.domain.config import Params
from housing.domain.data.landing import list_landing
from housing.engine.errors import EngineError
from housing.engine.execution import bring_back
from housing.errors import DataError
from tests.repository import make_repository
from tests.synthetic import streets
from tests.test_write_back import git

ROOT = Path(__file__).parents[1]


@pytest.fixture
def params() -> Params:
    return streets("landing")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose branch follows a bare repository, with a delivery in git."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    root = tmp_path / "clone"
    make_repository(root)
    (root / "landing").mkdir()
    (root / "landing/first.csv").write_text("rooms,street,price\n3,Main,1000\n")
    with (root / ".dvc/config").open("a") as config:
        config.write(f"    remote = r\n['remote \"r\"']\n    url = {tmp_path / 'remote'}\n")
    (root / ".dvcignore").write_text(".gitignore\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "m")
    git(root, "branch", "--move", "main")
    git(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(root, "config", "user.name", "Somebody")
    git(root, "config", "user.email", "a@b.c")
    return root


def new(folder: Path, rooms: int = 2) -> Path:
    file = folder / "new.csv"
    file.write_text(f"rooms,street,price\n{rooms},Side,900\n")
    return file


def test_a_delivery_is_content_in_the_remote_and_a_commit_on_the_branch(
    tmp_path: Path, clone: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="git push --set-upstream origin main"):
        deliver(new(tmp_path), clone, params)
    git(clone, "push", "--quiet", "--set-upstream", "origin", "main")
    (clone / "open.txt").write_text("work that is not done")
    keep = bring_back.keep
    others = ["other"]

    def late(root: Path, file: Path) -> None:
        keep(root, file)
        if others:  # somebody pushes while the content goes to the remote
            (clone / others.pop()).write_text("")
            git(clone, "add", "other")
            git(clone, "commit", "--quiet", "--message", "other")
            git(clone, "push", "--quiet")

    monkeypatch.setattr(bring_back, "keep", late)
    done, commit = deliver(new(tmp_path), clone, params)
    assert (done.path, done.rows, done.already_there) == (clone / "landing/new.csv", 1, False)
    log = git(tmp_path / "origin.git", "log", "--format=%H %an %s", "main").splitlines()
    assert log[0] == f"{commit} Somebody Deliver new.csv"
    assert log[1].endswith("other")
    names = git(tmp_path / "origin.git", "show", "--name-only", "--format=", "main").split()
    assert names == ["landing/.gitignore", "landing/new.csv.dvc"]
    (kept,) = (path for path in (tmp_path / "remote").rglob("*") if path.is_file())
    assert kept.read_bytes() == new(tmp_path).read_bytes()
    git(clone, "pull", "--quiet")
    subprocess.run(["dvc", "pull", "--quiet"], cwd=clone, check=True)
    listed = list_landing(clone / "landing")
    assert [file.name for file in listed.files] == ["first.csv", "new.csv"]
    assert "new.csv.dvc" not in listed.ignored
    again, none = deliver(new(tmp_path), clone, params)
    assert (again.already_there, none) == (True, "")
    with pytest.raises(DataError, match=r"another delivery of the same name on the branch main"):
        deliver(new(tmp_path, rooms=5), clone, params)

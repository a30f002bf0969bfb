"""The commit that brings the entries of a run to a branch, by real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from housing.engine.errors import WriteBackError
from housing.engine.execution import git_branch
from housing.engine.execution.git_branch import Branch

LOCK = "dvc.lock"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


def entry(cmd: str) -> str:
    return f"cmd: {cmd}\nouts:\n- path: o\n  md5: {'a' * 32}\n"


def lock(**commands: str) -> str:
    stages = {key: yaml.safe_load(entry(cmd)) for key, cmd in commands.items()}
    return yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A clone of a bare repository, as the bundle of a run is one."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(tmp_path, "clone", "--quiet", "origin.git", "base")
    root = tmp_path / "base"
    (root / "sub").mkdir()
    (root / LOCK).write_text(lock(a="1", b="1", c="1"))
    (root / "code.py").write_text("code\n")
    push(root)
    return root


def push(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "m")
    git(root, "push", "--quiet", "origin", "HEAD:main")


def branch(base: Path, name: str = "main", folder: str = "") -> Branch:
    return Branch(str(base.parent / "origin.git"), name, "main", folder, {})


def run(base: Path, entries: dict[str, str], **given: str) -> git_branch.Written:
    made = {(LOCK, key): entry(cmd) for key, cmd in entries.items()}
    return git_branch.write(branch(base, **given), base, made, "Record p r\n")


def stages(base: Path, name: str = "main") -> dict[str, str]:
    shown = git(base.parent / "origin.git", "show", f"{name}:{LOCK}")
    return {key: str(one["cmd"]) for key, one in yaml.safe_load(shown)["stages"].items()}


def test_only_what_the_run_changed_is_committed_once(base: Path) -> None:
    done = run(base, {"a": "1", "b": "2", "d": "1"})
    assert (done.taken, done.kept) == (("b", "d"), ())
    assert stages(base) == {"a": "1", "b": "2", "c": "1", "d": "1"}
    bare = base.parent / "origin.git"
    assert git(bare, "log", "-1", "--format=%H %s", "main").split(" ", 1) == [
        done.commit,
        "Record p r\n",
    ]
    assert git(bare, "diff", "--name-only", "main~", "main").split() == [LOCK]
    assert run(base, {"a": "1", "b": "2", "d": "1"}).commit == ""  # a retry
    assert git(bare, "rev-list", "--count", "main").strip() == "2"


def test_a_branch_that_moved_is_joined_entry_by_entry(base: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "origin.git", "other")
    (tmp_path / "other" / LOCK).write_text(lock(a="9", b="1", c="9"))
    (tmp_path / "other" / "code.py").write_text("more\n")
    push(tmp_path / "other")
    done = run(base, {"a": "1", "b": "2", "c": "2"})
    assert (done.taken, done.kept) == (("b",), ("c",))
    assert stages(base) == {"a": "9", "b": "2", "c": "9"}
    assert git(base.parent / "origin.git", "show", "main:code.py") == "more\n"


def test_a_push_that_comes_between_is_not_overwritten(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git_branch._Clone.commit
    others = ["other"]

    def late(self: git_branch._Clone, texts: dict[str, str], message: str) -> str:
        if others:
            (base / others.pop()).write_text("")
            push(base)
        return commit(self, texts, message)

    monkeypatch.setattr(git_branch._Clone, "commit", late)
    run(base, {"b": "2"})
    bare = base.parent / "origin.git"
    assert git(bare, "log", "--format=%s", "main").split("\n")[:3] == ["Record p r", "m", "m"]
    assert git(bare, "ls-tree", "--name-only", "main").split() == ["code.py", LOCK, "other"]


def test_another_branch_is_made_of_the_one_that_the_run_came_from(base: Path) -> None:
    run(base, {"b": "2"}, name="results")
    assert stages(base, "results")["b"] == "2"
    assert stages(base)["b"] == "1"


def test_a_repository_in_a_folder_of_git_has_its_lock_there(base: Path) -> None:
    made = {(LOCK, "s"): entry("1")}
    done = git_branch.write(branch(base, folder="sub"), base / "sub", made, "m")
    assert done.taken == ("s",)
    listed = git(base.parent / "origin.git", "ls-tree", "-r", "--name-only", "main").split()
    assert listed == ["code.py", LOCK, f"sub/{LOCK}"]


def test_a_repository_that_is_away_is_tried_again(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = base.parent / "origin.git"
    bare.rename(base.parent / "away")
    monkeypatch.setattr(
        "housing.engine.execution.git_branch.time.sleep",
        lambda _: bare.exists() or (base.parent / "away").rename(bare),
    )
    assert run(base, {"b": "2"}).commit


def test_a_refusal_names_the_way_out(base: Path) -> None:
    hook = base.parent / "origin.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho protected branch; exit 1\n")
    hook.chmod(0o755)
    with pytest.raises(WriteBackError, match='write_back="BRANCH"') as told:
        run(base, {"b": "2"})
    assert told.value.permanent


def test_a_login_in_the_address_is_not_shown(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_branch, "PATIENCE", 0)
    url = "https://user:secret@127.0.0.1:9/x.git"
    with pytest.raises(WriteBackError) as told:
        git_branch.write(Branch(url, "main", "main", "", {}), base, {(LOCK, "b"): entry("2")}, "m")
    assert "secret" not in str(told.value)

"""What DVC found unchanged holds as long as no file changed, and DVC looks where one did."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from dvc.repo import Repo
from dvc.stage import Stage

from housing.engine.errors import EngineError
from housing.engine.execution import locks, stage_run, unchanged
from housing.engine.execution.sharing import Sharing
from housing.engine.execution.stage_result import StageResult
from housing.engine.execution.stage_run import StageRun
from tests.conftest import MakeRepo

FILES = {
    "in.txt": "hello\n",
    "folder/a": "a\n",
    "folder/sub/b": "b\n",
    "params.yaml": "width: 1\nother: 5\n",
    "more.toml": "rate = 1\n",
    ".gitignore": "/ignored\n",
    "ignored/sub/c": "c\n",
    "outer/x/d": "d\n",
    "dvc.yaml": dedent("""
        stages:
          make:
            cmd:
              - mkdir -p made
              - echo made > made/one
              - cp in.txt out.txt
            deps: [in.txt, folder, ignored/sub, outer/x]
            params: [width, more.toml: [rate]]
            outs: [out.txt, made]
          still: {cmd: echo still > still.txt, deps: [in.txt], outs: [still.txt], frozen: true}
          tracked: {cmd: cp raw.txt copy.txt, deps: [raw.txt], outs: [copy.txt]}
          always: {cmd: echo again, always_changed: true, deps: [in.txt]}
    """),
}


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    """A repository whose stage DVC has just found unchanged."""
    root = make_repo(FILES)
    assert stage_run.reproduce(root, "make").state == "ran"
    time.sleep(0.05)  # younger files may change once more with the same time stamp
    assert stage_run.reproduce(root, "make").state == "unchanged"
    return root


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each time that DVC's repository is opened."""
    opened: list[str] = []
    by_dvc = locks.open_repo

    def noting(root: Path, *rest: Any) -> Any:  # noqa: ANN401 - as it comes
        opened.append(str(root))
        return by_dvc(root, *rest)

    monkeypatch.setattr(locks, "open_repo", noting)
    return opened


def again(root: Path) -> StageResult:
    return stage_run.reproduce(root, "make")


def status(root: Path) -> object:
    with contextlib.chdir(root), Repo() as repo:
        return repo.status(["make"])


def cached(root: Path, text: str) -> Path:
    """The object in DVC's cache with this content."""
    objects = (path for path in (root / ".dvc/cache").rglob("*") if path.is_file())
    (found,) = (path for path in objects if path.read_text() == text)
    return found


def test_where_nothing_changed_dvc_is_not_asked(root: Path, looks: list[str]) -> None:
    run = StageRun(root, "make")
    record = run.reproduce()
    assert not looks
    assert (record.state, record.reasons) == ("unchanged", ())
    by_dvc = StageRun(root, "make")
    (root / ".dvc/tmp/housing/unchanged/make.json").unlink()
    expected = by_dvc.reproduce()
    assert len(looks) == 1
    assert record.to_dict() | {"seconds": 0} == expected.to_dict() | {"seconds": 0}
    assert run.deps == by_dvc.deps
    again(root)
    assert len(looks) == 1


def test_what_dvc_lock_says_of_other_stages_is_left_to_them(root: Path, looks: list[str]) -> None:
    lock = root / "dvc.lock"
    stage_run.reproduce(root, "always")
    assert "  always:\n" in lock.read_text()
    looks.clear()
    assert again(root).state == "unchanged"
    assert not looks
    lock.write_text(lock.read_text() + "  other:\n    cmd: [\n")
    assert again(root).state == "unchanged"
    assert not looks


BROKEN: dict[str, Callable[[str], str]] = {
    "a conflict": lambda text: text.replace("  always:\n", "<<<<<<< HEAD\n  always:\n"),
    "two entries": lambda text: text + "".join(text.partition("  make:\n")[1:]),
    "another schema": lambda text: text.replace("'2.0'", "'3.0'"),
    "a byte": lambda text: text.replace("out.txt", "out\udcff.txt"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_dvc_says_what_is_wrong_with_its_file(root: Path, name: str) -> None:
    lock = root / "dvc.lock"
    stage_run.reproduce(root, "always")
    broken = BROKEN[name](lock.read_text())
    assert broken != lock.read_text()
    lock.write_text(broken, errors="surrogateescape")
    with pytest.raises(EngineError):
        again(root)
    assert lock.read_text(errors="surrogateescape") == broken


def same_size_and_time(root: Path) -> None:
    """DVC reads params each time, whatever their time of change."""
    path = root / "more.toml"
    before = path.stat()
    path.write_text("rate = 2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def set_param(root: Path) -> None:
    (root / "params.yaml").write_text("width: 2\nother: 5\n")


def set_command(root: Path) -> None:
    path = root / "dvc.yaml"
    path.write_text(path.read_text().replace("mkdir -p made", "mkdir -p ./made"))


def drop_entry(root: Path) -> None:
    (root / "dvc.lock").unlink()


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a dep of the same size": (lambda root: (root / "in.txt").write_text("jello\n"), "ran"),
    "a file in a folder": (lambda root: (root / "folder/sub/b").write_text("c\n"), "ran"),
    "a new file in a folder": (lambda root: (root / "folder/sub/new").write_text(""), "ran"),
    "a file's name": (lambda root: (root / "folder/a").rename(root / "folder/z"), "ran"),
    "a param": (set_param, "ran"),
    "a param of another file": (same_size_and_time, "ran"),
    "ignored files below a folder that git ignores": (
        lambda root: (root / "ignored/.dvcignore").write_text("c\n"),
        "ran",
    ),
    "the command": (set_command, "ran"),
    "no dvc.lock": (drop_entry, "restored"),
    "no out": (lambda root: (root / "out.txt").unlink(), "restored"),
    "no file of an out": (lambda root: (root / "made/one").unlink(), "restored"),
    "a file in an out": (lambda root: (root / "made/two").write_text(""), "restored"),
    "no cache": (lambda root: shutil.rmtree(root / ".dvc/cache"), "ran"),
    "no object in the cache": (lambda root: cached(root, "jello\n").unlink(), "ran"),
    "no object of a folder's file": (lambda root: cached(root, "made\n").unlink(), "ran"),
    "an out's time": (lambda root: os.utime(root / "out.txt"), "unchanged"),
    "a mode": (lambda root: (root / "folder/z").chmod(0o600), "unchanged"),
    "another param": (
        lambda root: (root / "params.yaml").write_text("width: 2\nother: 6\n"),
        "unchanged",
    ),
    "the text of dvc.lock": (
        lambda root: (root / "dvc.lock").write_text((root / "dvc.lock").read_text() + "\n"),
        "unchanged",
    ),
    "DVC's config": (
        lambda root: (root / ".dvc/config.local").write_text("[core]\n    analytics = false\n"),
        "unchanged",
    ),
    "ignored files": (lambda root: (root / ".dvcignore").write_text("nothing\n"), "unchanged"),
    "more of them": (
        lambda root: (root / "folder/.dvcignore").write_text(".dvcignore\n"),
        "unchanged",
    ),
}


def test_dvc_looks_wherever_a_file_changed(root: Path, looks: list[str]) -> None:
    for name, (change, state) in CHANGES.items():
        change(root)
        looks.clear()
        assert (name, again(root).state) == (name, state)
        assert len(looks) == 1, name
        assert status(root) == {}, name
        time.sleep(0.05)
        again(root)  # by DVC, which is kept
        looks.clear()
        assert (name, again(root).state) == (name, "unchanged")
        assert not looks, name


def test_what_changes_while_dvc_looks_is_seen_the_next_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_dvc = Stage.changed

    def meanwhile(stage: Stage, *rest: object) -> object:
        found = by_dvc(stage, *rest)
        (root / "in.txt").write_text("jello\n")
        time.sleep(0.05)  # it is no young file when it is signed too late
        return found

    os.utime(root / "out.txt")
    with monkeypatch.context() as patched:
        patched.setattr(Stage, "changed", meanwhile)
        assert again(root).state == "unchanged"
    assert again(root).state == "ran"


def test_a_flipped_bit_in_what_is_kept_is_no_finding(root: Path, looks: list[str]) -> None:
    path = root / ".dvc/tmp/housing/unchanged/make.json"
    for at in (0, 40, -10):
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
        looks.clear()
        assert again(root).state == "unchanged"
        assert looks, at


def test_a_copy_of_the_project_looks_for_itself(root: Path, looks: list[str]) -> None:
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    (copy / "in.txt").write_text("ho\n")
    assert again(copy).state == "ran"
    assert looks == [str(copy)]


def test_dvc_looks_while_somebody_writes(root: Path, looks: list[str]) -> None:
    """Then it waits, where the other is about to write what this stage reads."""
    other = {"pid": os.getppid(), "cmd": "dvc repro other"}
    rwlock = root / ".dvc/tmp/rwlock"
    rwlock.write_text(json.dumps({"read": {}, "write": {str(root / "else"): other}}))
    assert again(root).state == "unchanged"
    assert looks


@pytest.mark.parametrize("name", ["always", "still", "tracked"])
def test_a_stage_that_hangs_on_more_than_its_files_is_left_to_dvc(
    make_repo: MakeRepo, looks: list[str], name: str
) -> None:
    root = make_repo({**FILES, "raw.txt": "raw\n", "raw.txt.dvc": "outs: [{path: raw.txt}]\n"})
    (root / "still.txt").write_text("still\n")
    for _ in range(3):
        looks.clear()
        stage_run.reproduce(root, name)
        assert looks
        time.sleep(0.05)


def test_a_forced_run_and_one_that_pulls_ask_dvc(root: Path, looks: list[str]) -> None:
    assert stage_run.reproduce(root, "make", force=True).state == "ran"
    with pytest.raises(EngineError, match="remote"):
        StageRun(root, "make", sharing=Sharing(pull=True)).reproduce()
    assert len(looks) == 2


def test_another_config_of_the_user_asks_dvc(
    root: Path, looks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(f"[cache]\n    dir = {tmp_path / 'empty'}\n")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))
    assert again(root).state == "ran"
    assert looks


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # As a file system does that knows whole seconds alone.
        ("_signature", lambda _: (1, 1, 0, 1, time.time_ns() // 10**9 * 10**9)),
        ("_MOST", 3),
    ],
)
def test_what_is_young_by_whole_seconds_or_too_much_is_left_to_dvc(
    root: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(unchanged, name, value)
    (root / ".dvc/tmp/housing/unchanged/make.json").unlink()
    again(root)
    assert not list((root / ".dvc/tmp/housing/unchanged").iterdir())
    assert looks


def test_another_repository_above_a_dep_is_left_to_dvc(root: Path, looks: list[str]) -> None:
    shutil.copytree(root / ".dvc", root / "outer/.dvc")
    assert again(root).state == "ran"  # DVC leaves alone what is in there
    time.sleep(0.05)
    for _ in range(2):
        looks.clear()
        assert again(root).state == "unchanged"
        assert looks


def test_a_folder_with_a_symlink_is_left_to_dvc(make_repo: MakeRepo, looks: list[str]) -> None:
    root = make_repo(FILES)
    (root / "elsewhere").mkdir()
    (root / "folder/link").symlink_to("../elsewhere")
    again(root)
    time.sleep(0.05)
    again(root)
    looks.clear()
    assert again(root).state == "unchanged"
    assert looks


def test_a_young_file_is_left_to_dvc(
    make_repo: MakeRepo, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change once more within the same tick of the file system's clock."""
    root = make_repo(FILES)
    again(root)
    moment = (root / "out.txt").stat().st_ctime_ns
    monkeypatch.setattr("housing.engine.graph.manifest.settled", lambda: moment)
    again(root)
    looks.clear()
    assert again(root).state == "unchanged"
    assert looks

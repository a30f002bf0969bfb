from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from zc.lockfile import LockFile

from housing.engine import graph
from housing.engine.errors import GraphError, StageBusyError
from housing.engine.graph import manifest
from tests.conftest import MakeRepo

FILES = {
    "params.yaml": "name: one\n",
    "more.yaml": "deep: {er: value}\n",
    "own.yaml": "mine: 1\n",
    "dvc.yaml": """
vars: [more.yaml]
stages:
  a: {cmd: "echo ${name} ${deep.er}", outs: [a.txt]}
  b: {cmd: "echo ${mine}", vars: [own.yaml], deps: [a.txt], outs: [data/out]}
""",
    "data/in/table.csv": "1\n",
    ".gitignore": "/hidden/\n",
    ".dvcignore": "",
}


@pytest.fixture
def root(make_repo: MakeRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    root = make_repo(FILES)
    settle()
    graph.load(root)
    return root


def settle() -> None:
    """Lets the clock that stamps files tick: what is younger is not trusted, so not kept."""
    time.sleep(0.05)


def is_kept(root: Path) -> bool:
    return manifest.read(root) is not None


def replace(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text((root / name).read_text().replace(old, new))


def add(name: str, text: str = "stages: {c: {cmd: x}}\n") -> Callable[[Path], object]:
    def adding(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    return adding


CHANGES: dict[str, Callable[[Path], object]] = {
    "a stage is renamed": replace("dvc.yaml", "  a:", "  z:"),
    "a stage is added": add("dvc.yaml", FILES["dvc.yaml"] + "  c: {cmd: x}\n"),
    "a template value changes": replace("params.yaml", "one", "two"),
    "a value of the same length, in the same instant": replace("params.yaml", "one", "six"),
    "a nested value in a vars file changes": replace("more.yaml", "value", "other"),
    "a value in a stage's own vars file changes": replace("own.yaml", "1", "2"),
    "a second dvc.yaml in a folder that was there": add("data/in/dvc.yaml"),
    "a second dvc.yaml in a new folder": add("new/dvc.yaml"),
    "a second dvc.yaml deep in new folders": add("new/er/still/dvc.yaml"),
    "DVC's settings": add(".dvc/config.local", "[parsing]\n    bool = boolean_optional\n"),
    "a .dvc file appears": add("t.csv.dvc", f"outs:\n- md5: {'a' * 32}\n  path: t.csv\n"),
    "ignore rules of git": add(".gitignore", "/data/\n"),
    "ignore rules of DVC": add(".dvcignore", "/data/in/\n"),
    "new ignore rules in a folder": add("data/.dvcignore", "in\n"),
    "private ignore rules of git": add(".git/info/exclude", "/data/\n"),
    "ignore rules of the user": add("../home/git/ignore", "/data/\n"),
    "the user's file of ignore rules": add(
        "../home/git/config", "[core]\n    excludesFile = ~/rules\n"
    ),
    "git's settings of the clone": add(".git/config", "[core]\n    excludesFile = /nowhere\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_never_answered_from_the_manifest(change: str, root: Path) -> None:
    assert is_kept(root)
    CHANGES[change](root)
    assert not is_kept(root)
    fresh = graph.load(root)
    settle()
    (root / manifest.MANIFEST).unlink()
    assert fresh == graph.load(root)


def test_the_files_that_a_users_settings_name_count(
    make_repo: MakeRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    root = make_repo(FILES)
    (tmp_path / ".gitconfig").write_text("[core]\n    excludesFile = ~/rules\n")
    settle()
    assert graph.load(root).names == ("a", "b")
    assert is_kept(root)
    add("sub/dvc.yaml")(root)
    assert graph.load(root).names == ("a", "b", "sub/dvc.yaml:c")
    settle()
    graph.load(root)
    assert is_kept(root)
    (tmp_path / "rules").write_text("/sub/\n")
    assert graph.load(root).names == ("a", "b")


def test_the_private_rules_of_a_submodule_count(tmp_path: Path, make_repo: MakeRepo) -> None:
    root = make_repo({**FILES, "sub/dvc.yaml": "stages: {c: {cmd: x}}\n"})
    control = tmp_path / "modules" / "repo"
    control.parent.mkdir()
    (root / ".git").rename(control)
    (root / ".git").write_text("gitdir: ../modules/repo\n")
    settle()
    assert graph.load(root).names == ("a", "b", "sub/dvc.yaml:c")
    assert is_kept(root)
    add("info/exclude", "/sub/\n")(control)
    assert graph.load(root).names == ("a", "b")


def test_an_absolute_vars_file_counts(make_repo: MakeRepo, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text("x: 1\n")
    root = make_repo({"dvc.yaml": f"vars: [{outside}]\nstages: {{a: {{cmd: 'echo ${{x}}'}}}}\n"})
    settle()
    assert graph.load(root)["a"].cmd == ("echo 1",)
    assert is_kept(root)
    outside.write_text("x: 2\n")
    assert graph.load(root)["a"].cmd == ("echo 2",)


@contextlib.contextmanager
def dvcs_lock(root: Path) -> Iterator[None]:
    lock = LockFile(str(root / ".dvc" / "tmp" / "lock"))  # type: ignore[no-untyped-call]  # untyped
    try:
        yield
    finally:
        lock.close()  # type: ignore[no-untyped-call]  # as above


def test_nothing_waits_for_dvcs_lock_unless_told_to(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = graph.load(root)
    replace("params.yaml", "one", "two")(root)
    with dvcs_lock(root):
        found = graph.load(root)
    assert found.stages == before.stages
    assert "params.yaml changed" in found.waiting
    assert f"process {os.getpid()} (" in found.waiting
    assert found.waiting in caplog.text
    fresh = graph.load(root)
    assert fresh["a"].cmd == ("echo two value",)
    assert fresh.waiting == ""


def test_a_new_dvc_yaml_behind_dvcs_lock_is_told_too(root: Path) -> None:
    before = graph.load(root)
    add("new/dvc.yaml")(root)
    with dvcs_lock(root):
        found = graph.load(root)
    assert (found.stages, found.waiting != "") == (before.stages, True)


def test_a_new_clone_is_resolved_while_somebody_pulls_its_data(root: Path) -> None:
    fresh = graph.load(root)
    (root / manifest.MANIFEST).unlink()
    with dvcs_lock(root):
        assert graph.load(root) == fresh
        assert not (root / manifest.MANIFEST).exists(), "a file may have been half written"


def test_who_may_wait_waits_until_it_gives_up(root: Path) -> None:
    replace("params.yaml", "one", "two")(root)
    asked: list[int] = []

    def give_up() -> None:
        asked.append(1)
        if len(asked) > 3:
            raise StageBusyError("enough")

    with dvcs_lock(root), pytest.raises(StageBusyError, match="enough"):
        graph.load(root, give_up)


def test_the_next_stages_appear_and_go(root: Path) -> None:
    add("new/dvc.yaml")(root)
    assert [stage.name for stage in graph.load(root).stages] == ["a", "b", "new/dvc.yaml:c"]
    (root / "new" / "dvc.yaml").unlink()
    assert [stage.name for stage in graph.load(root).stages] == ["a", "b"]


def test_a_folder_with_a_dvc_yaml_that_moves_takes_its_stages_along(root: Path) -> None:
    add("new/dvc.yaml")(root)
    settle()
    graph.load(root)
    assert is_kept(root)
    (root / "new").rename(root / "other")
    assert [stage.name for stage in graph.load(root).stages] == ["a", "b", "other/dvc.yaml:c"]


@pytest.mark.parametrize("name", ["more.yaml", "own.yaml", "params.yaml"])
def test_a_deleted_file_of_values_is_an_error_at_once(name: str, root: Path) -> None:
    (root / name).unlink()
    with pytest.raises(GraphError):
        graph.load(root)


def test_params_that_appear_count(make_repo: MakeRepo) -> None:
    root = make_repo({"dvc.yaml": "vars: [{x: 1}]\nstages: {a: {cmd: 'echo ${x}'}}\n"})
    settle()
    graph.load(root)
    assert is_kept(root)
    (root / "params.yaml").write_text("x: 2\n")
    with pytest.raises(GraphError, match="x"):
        graph.load(root)


NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "a touched file": lambda root: (root / "dvc.yaml").touch(),
    "rewritten files": lambda root: [(root / n).write_text(t) for n, t in FILES.items()],
    "data": add("data/in/more.csv"),
    "a new folder with data": add("data/new/deep/more.csv"),
    "an out, whatever is in it": add("data/out/dvc.yaml"),
    "data gone": lambda root: (root / "data/in/table.csv").unlink(),
    "dvc.lock": add("dvc.lock", "schema: '2.0'\nstages: {}\n"),
    "DVC's temporary files": add(".dvc/tmp/rwlock", "{}"),
}


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_does_not_shape_the_graph_leaves_the_manifest(change: str, root: Path) -> None:
    before = graph.load(root)
    NO_CHANGES[change](root)
    assert is_kept(root)
    settle()
    assert is_kept(root)
    assert graph.load(root) == before


def test_a_folder_is_looked_into_once_after_a_change(root: Path) -> None:
    add("data/in/more.csv")(root)
    settle()
    graph.load(root)
    kept = (root / manifest.MANIFEST).stat().st_mtime_ns
    graph.load(root)
    assert (root / manifest.MANIFEST).stat().st_mtime_ns == kept


def test_ignored_folders_are_not_walked(make_repo: MakeRepo) -> None:
    root = make_repo({**FILES, "hidden/deep/x": "", "data/out/deep/x": ""})
    settle()
    graph.load(root)
    folders = json.loads((root / manifest.MANIFEST).read_text())["folders"]
    assert set(folders) == {".", "data", "data/in"}


def test_a_new_ignored_folder_is_looked_into_once(root: Path) -> None:
    before = graph.load(root)
    for number in range(300):
        (root / f"hidden/deep/{number}").mkdir(parents=True)
    settle()
    assert graph.load(root) == before
    folders = json.loads((root / manifest.MANIFEST).read_text())["folders"]
    assert set(folders) == {".", "data", "data/in"}
    (root / "hidden/deep/more").mkdir()
    kept = (root / manifest.MANIFEST).stat().st_mtime_ns
    assert graph.load(root) == before
    assert (root / manifest.MANIFEST).stat().st_mtime_ns == kept


def test_folders_that_come_one_by_one_are_left_to_dvc_in_the_end(root: Path) -> None:
    for number in range(2):
        for part in range(60):
            (root / f"hidden/{number}/{part}").mkdir(parents=True)
        settle()
        graph.load(root)
    graph.load(root)
    assert set(json.loads((root / manifest.MANIFEST).read_text())["folders"]) == {
        ".", "data", "data/in",
    }  # fmt: skip


UNREADABLE = """
import sys
from pathlib import Path
from housing.engine import graph
from housing.engine.graph import manifest
print(" ".join(graph.load(Path(sys.argv[1])).names), manifest.read(Path(sys.argv[1])) is not None)
"""


def load_obeying_modes(root: Path) -> str:
    """Loads the graph in a process for which file modes count, also where the tests run as root."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    done = subprocess.run(
        [*(drop if os.getuid() == 0 else []), sys.executable, "-c", UNREADABLE, str(root)],
        cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(graph.__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["hidden/locked", "data/locked"], ids=["ignored", "not ignored"])
def test_a_folder_that_may_not_be_read_holds_no_stages(name: str, root: Path) -> None:
    add(f"{name}/deep/dvc.yaml")(root)
    try:
        (root / name).chmod(0)
        settle()
        for _ in range(2):
            assert load_obeying_modes(root) == "a b True"
    finally:
        (root / name).chmod(0o755)
    wanted = "a b" if name.startswith("hidden") else "a b data/locked/deep/dvc.yaml:c"
    settle()
    assert load_obeying_modes(root) == f"{wanted} True"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda text: re.sub(r'"format": \d+', '"format": 0', text),
        lambda text: text.replace('"dvc": "', '"dvc": "x'),
    ],
    ids=["cut off", "empty", "another format", "another DVC"],
)
def test_an_unusable_manifest_is_made_anew(damage: Callable[[str], str], root: Path) -> None:
    path = root / manifest.MANIFEST
    path.write_text(damage(path.read_text()))
    assert not is_kept(root)
    graph.load(root)
    assert is_kept(root)


def test_a_source_that_changed_just_now_is_not_trusted(root: Path) -> None:
    (root / manifest.MANIFEST).unlink()
    replace("params.yaml", "one", "two")(root)
    graph.load(root)
    assert not (root / manifest.MANIFEST).exists()


def test_a_valid_manifest_is_read_without_dvc_and_from_anywhere(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from housing.engine import graph;"
        f"print(len(graph.load(Path({str(root)!r})).stages));"
        "print([name for name in sys.modules if name.partition('.')[0] in"
        " ('dvc', 'networkx', 'pydantic', 'yaml')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(Path(graph.__file__).parents[3])},
    )  # fmt: skip
    assert found.stdout.split("\n")[:2] == ["2", "[]"]

"""What changes while a command runs is never recorded as if the command had read it."""

from __future__ import annotations

import logging
from pathlib import Path
from textwrap import dedent

import pytest

from housing.engine.errors import InputsChangedError, StageFailedError
from housing.engine.execution import attempts, lockfile, stage_run
from tests.conftest import MakeRepo
from tests.test_pipeline_run import status

FILES = {
    "in.txt": "first\n",
    "folder/a": "a\n",
    "code.sh": "cat in.txt folder/* params.yaml > out.txt; sh meanwhile.sh\n",
    "meanwhile.sh": "",
    "params.yaml": "depth: 6\nother: 1\n",
    "config.toml": "[model]\nrate = 1\n",
    "dvc.yaml": dedent("""
        stages:
          work:
            cmd: sh code.sh
            deps: [in.txt, folder, code.sh]
            params: [depth, {config.toml: [model.rate]}]
            outs: [out.txt]
    """),
}


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    return make_repo(FILES)


def once(root: Path, change: str) -> None:
    """Lets the first command, which has read everything by then, make this change."""
    (root / "meanwhile.sh").write_text(f"[ -e done ] && exit\ntouch done\n{change}\n")


CHANGES = {
    "file": ("echo second > in.txt", "dep in.txt: "),
    "same size and place": ("printf 'FIRST\\n' > in.txt", "dep in.txt: "),
    "code": ("echo '# new' >> code.sh", "dep code.sh: "),
    "delivery": ("echo b > folder/b", "dep folder/b: nothing -> "),
    "taken away": ("echo b > folder/b; rm folder/a", "dep folder/a: "),
    "param": ("sed -i 's/depth: 6/depth: 2/' params.yaml", "param params.yaml:depth: 6 -> 2"),
    "toml": ("sed -i 's/1/3/' config.toml", "param config.toml:model.rate: 1 -> 3"),
}


@pytest.mark.parametrize(
    ("case", "force"),
    [*((case, False) for case in CHANGES), ("file", True), ("param", True)],
)
def test_the_command_runs_again_on_what_changed_meanwhile(
    case: str, force: bool, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change, told = CHANGES[case]
    once(root, change)
    with caplog.at_level(logging.INFO):
        record = stage_run.reproduce(root, "work", force=force)
    assert record.state == "ran"
    assert f"stage work: {told}" in caplog.text
    assert (root / "out.txt").read_text() == "".join(
        path.read_text()
        for path in (root / "in.txt", *sorted((root / "folder").iterdir()), root / "params.yaml")
    )
    assert stage_run.reproduce(root, "work").state == "unchanged"
    assert "up to date" in status(root)


@pytest.mark.parametrize("case", ["file", "delivery", "param"])
def test_neither_lock_nor_run_cache_keeps_a_result_of_other_inputs(
    case: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS", 1)
    once(root, CHANGES[case][0])
    with pytest.raises(InputsChangedError, match="nothing is saved"):
        stage_run.reproduce(root, "work")
    assert not lockfile.read(root)
    assert not [path for path in (root / ".dvc/cache/runs").rglob("*") if path.is_file()]
    assert stage_run.reproduce(root, "work").state == "ran"
    assert (root / "out.txt").read_text().endswith((root / "params.yaml").read_text())


def test_a_dep_that_never_rests_fails_the_stage_and_is_named(root: Path) -> None:
    stage_run.reproduce(root, "work")
    before = lockfile.read(root)
    (root / "in.txt").write_text("second\n")
    (root / "meanwhile.sh").write_text("echo >> in.txt; echo >> runs\n")
    with pytest.raises(InputsChangedError, match=r"dep in\.txt: .* 3 times in a row"):
        stage_run.reproduce(root, "work")
    assert (root / "runs").read_text().count("\n") == attempts.ATTEMPTS
    assert lockfile.read(root) == before
    assert "changed" in status(root)


def test_a_dep_that_goes_away_meanwhile_is_missing(root: Path) -> None:
    once(root, "rm in.txt")
    with pytest.raises(StageFailedError, match=r"needs what is not there: in\.txt"):
        stage_run.reproduce(root, "work")
    assert not lockfile.read(root)


def test_what_the_stage_does_not_read_may_change(root: Path) -> None:
    once(
        root, "sed -i 's/other: 1/other: 2/' params.yaml; touch in.txt; echo > unread; echo >> runs"
    )
    (root / "code.sh").write_text("cp in.txt out.txt; sh meanwhile.sh")
    assert stage_run.reproduce(root, "work").state == "ran"
    assert (root / "runs").read_text() == "\n"

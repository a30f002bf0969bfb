"""What a run would do, told without doing it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from housing.engine.__main__ import main
from housing.engine.errors import EngineError, OptionsError
from housing.engine.execution import plan, stage_run
from housing.engine.execution.stage_plan import StagePlan
from housing.engine.stage_notes import note_duration
from tests.repository import make_repository

STAGES = {
    "prepare": {"cmd": "cut -c1 raw > clean", "deps": ["raw"], "outs": ["clean"]},
    "train": {
        "foreach": ["a", "b"],
        "do": {
            "cmd": "cat clean > ${item}; echo ${lr} >> ${item}",
            "deps": ["clean"],
            "params": ["lr"],
            "outs": ["${item}"],
        },
    },
    "evaluate": {"cmd": "cat a b > report", "deps": ["a", "b"], "outs": ["report"]},
    "apart": {"cmd": "cp other copy", "deps": ["other"], "outs": ["copy"]},
}
ORDER = ("prepare", "train@a", "train@b", "evaluate", "apart")


def run(root: Path) -> None:
    for name in ORDER:
        stage_run.reproduce(root, name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose stages all ran once."""
    root = tmp_path_factory.mktemp("plan") / "p"
    make_repository(root, git=False)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    (root / "params.yaml").write_text("lr: 1\n")
    (root / "raw").write_text("x1")
    (root / "other").write_text("y")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(root.parent / "site"))
        assert set(actions(root).values()) == {"run"}
        run(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return Path(shutil.copytree(made, tmp_path / "p"))


def written(root: Path) -> dict[str, bytes]:
    """All that a run would change: the lock file, the cache, the outs."""
    files = [path for path in root.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)]
    return {str(path): path.read_bytes() for path in files}


def planned(root: Path, *names: str, force: bool = False) -> dict[str, StagePlan]:
    before = written(root)
    found = plan.make(root, names, force=force)
    assert written(root) == before
    return {one.stage: one for one in found.stages}


def actions(root: Path, *names: str, force: bool = False) -> dict[str, str]:
    return {name: one.action for name, one in planned(root, *names, force=force).items()}


def test_the_plan_is_what_the_next_run_does(root: Path) -> None:
    assert set(actions(root).values()) == {"stay"}

    (root / "raw").write_text("x2")  # what prepare writes stays the same
    changed = planned(root)
    assert [one.action for one in changed.values()] == ["run", *["may run"] * 3, "stay"]
    assert changed["prepare"].reasons[0].name == "raw"
    assert changed["train@a"].depends_on == ("prepare",)
    assert "may run, if train@a or train@b makes" in changed["evaluate"].told()
    assert stage_run.reproduce(root, "prepare").state == "ran"
    assert set(actions(root).values()) == {"stay"}


def test_a_stage_that_is_out_of_date_by_itself_runs_whatever_comes_before_it(root: Path) -> None:
    (root / "raw").write_text("z")
    (root / "params.yaml").write_text("lr: 2\n")
    found = planned(root)
    assert [one.action for one in found.values()] == ["run", "run", "run", "may run", "stay"]
    assert str(found["train@a"].reasons[0]) == "cmd train@a: cat clean > a; echo 1 >> a -> cat " + (
        "clean > a; echo 2 >> a"
    )


def test_what_the_run_cache_has_comes_back_and_so_does_all_after_it(root: Path) -> None:
    (root / "params.yaml").write_text("lr: 2\n")
    run(root)
    (root / "params.yaml").write_text("lr: 1\n")
    assert list(actions(root).values()) == ["stay", "restore", "restore", "restore", "stay"]
    assert [stage_run.reproduce(root, name).state for name in ORDER] == [
        "unchanged",
        *["restored"] * 3,
        "unchanged",
    ]
    (root / "copy").unlink()
    assert actions(root, "apart") == {"apart": "restore"}
    (root / "params.yaml").write_text("lr: 2\n")  # back to what was made before, in a new order
    assert actions(root, "evaluate")["evaluate"] == "restore"


def test_force_an_absent_dep_and_a_frozen_stage(root: Path) -> None:
    assert set(actions(root, force=True).values()) == {"run"}
    (root / "raw").unlink()
    found = planned(root, "train@a")
    assert {name: one.action for name, one in found.items()} == {
        "prepare": "fail",
        "train@a": "fail",
    }
    assert "needs what is not there: raw" in found["prepare"].told()
    assert found["train@a"].fault == "it comes after prepare"
    content: dict[str, Any] = yaml.safe_load((root / "dvc.yaml").read_text())
    content["stages"]["prepare"]["frozen"] = True
    (root / "dvc.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert actions(root, "train@a") == {"prepare": "stay", "train@a": "stay"}


def test_the_time_is_told_along_the_critical_path(root: Path) -> None:
    for name, seconds in zip(ORDER[:4], (1, 20, 30, 4), strict=True):
        note_duration(root, name, seconds)
    (root / "raw").write_text("z")
    content = plan.make(root).to_dict()
    assert (content["at_least"], content["at_most"]) == (1, 35)
    assert content["critical_path"] == ["prepare", "train@b", "evaluate"]
    assert content["counts"] == {"run": 1, "may run": 3, "stay": 1}
    assert "1.0 to 35.0 s along prepare > train@b > evaluate" in plan.make(root).lines()[-1]


def test_a_stage_is_planned_by_the_plans_of_those_before_it(root: Path) -> None:
    (root / "raw").write_text("z")
    told: dict[str, StagePlan] = {}
    for name in ORDER:
        one = plan.of_stage(root, name, told)
        told[name] = StagePlan.from_dict(json.loads(json.dumps(one.to_dict())))
        assert told[name] == one
    assert tuple(told.values()) == plan.make(root).stages


def test_a_torn_lock_file_is_left_to_the_next_run(root: Path) -> None:
    journal = root / ".dvc/tmp/housing/journal"
    (journal / "dvc.lock").write_bytes((root / "dvc.lock").read_bytes())
    (root / "dvc.lock").write_text("stages:\n  prep")
    with pytest.raises(EngineError, match="was killed while it wrote"):
        planned(root)


def test_the_command_line_of_the_engine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--root", str(root), "train", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [one["stage"] for one in content["stages"]] == ["prepare", "train@a", "train@b"]
    assert main(["plan", "--root", str(root), "trian"]) == 1
    assert "no stage 'trian'" in capsys.readouterr().err
    with pytest.raises(OptionsError):
        plan.make(root, ["trian"])

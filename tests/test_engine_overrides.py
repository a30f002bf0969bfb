"""Parameters of any repository replaced for one run, in DVC's own grammar."""

from __future__ import annotations

import contextlib
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.providers.standard.operators.empty import EmptyOperator

from housing.engine import DvcDag, graph
from housing.engine.airflow.compat import AirflowFailException, AirflowSkipException
from housing.engine.airflow.run_place import NOTE
from housing.engine.airflow.sweep import removed_by_the_last, sweep_copies
from housing.engine.airflow.workspace import Workspace
from housing.engine.errors import OptionsError
from housing.engine.execution.overrides import apply
from tests.repository import make_repository

STAGES = {
    "train": {
        "cmd": "true",
        "params": ["lr", {"model.json": ["depth"]}, {"more.toml": ["a.b"]}, {"settings.py": ["N"]}],
    }
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_repository(tmp_path, git=False)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (tmp_path / "params.yaml").write_text("lr: 0.1 # as in the paper\nnames: [a]\n")
    (tmp_path / "model.json").write_text('{"depth": 3}')
    (tmp_path / "more.toml").write_text("[a]\nb = 1\n")
    (tmp_path / "settings.py").write_text("N = 1\n")
    return tmp_path


def test_parameters_of_every_kind_of_file_are_replaced(root: Path) -> None:
    apply(
        root, ["lr=0.5", "names=[b, c]", "model.json:depth=8", "more.toml:a.b=2", "settings.py:N=3"]
    )
    assert yaml.safe_load((root / "params.yaml").read_text()) == {"lr": 0.5, "names": ["b", "c"]}
    assert json.loads((root / "model.json").read_text()) == {"depth": 8}
    assert "b = 2" in (root / "more.toml").read_text()
    assert "N = 3" in (root / "settings.py").read_text()


def test_all_faults_are_told_together(root: Path) -> None:
    with pytest.raises(OptionsError) as told:
        apply(root, ["rl=1", "no.yaml:a=1", "../params.yaml:lr=1", "lr", "model.json:deep=1"])
    said = told.value.fact
    assert "no.yaml:a=1: no stage takes parameters from no.yaml" in said
    assert "../params.yaml:lr=1: no stage takes parameters from ../params.yaml" in said
    assert "'lr' is not of the form [file:]key=value" in said
    assert "params.yaml: " in said
    assert "'rl'" in said
    assert "model.json: " in said


def test_a_repository_in_git_can_be_overridden_and_git_sees_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    root = tmp_path / "repo"
    make_repository(root)
    (root / "dvc.yaml").write_text("stages: {each: {foreach: '${names}', do: {cmd: 'true'}}}\n")
    (root / "params.yaml").write_text("names: [a, b]\n")
    with Workspace.of(root, ("dag", "run"), ["names=[b]"]).entered() as place:
        assert graph.load(place).names == ("each@b",)
    status = ["git", "status", "--porcelain", "--ignored=no", "--", ".housing"]
    done = subprocess.run(status, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    with (
        pytest.raises(OptionsError, match="the overrides add each@c"),
        Workspace.of(root, ("dag", "other"), ["names=[c]"]).entered(),
    ):
        pass


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two stages, one after the other."""
    root = tmp_path_factory.mktemp("chain") / "p"
    make_repository(root)
    stages = {
        "a": {"cmd": "cp params.yaml a", "params": ["lr"], "outs": ["a"]},
        "b": {"cmd": "cp a b", "deps": ["a"], "outs": ["b"]},
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (root / "params.yaml").write_text("lr: 1\n")
    return root


@pytest.mark.parametrize(
    ("ended", "states", "after", "kept"),
    [
        (None, {"a": "success", "b": "running"}, False, False),
        (AirflowSkipException, {"a": "skipped", "b": "running"}, False, False),
        (ValueError, {"a": "success", "b": "running"}, False, True),  # there is another try
        (AirflowFailException, {"a": "running", "b": None}, False, False),
        (AirflowFailException, {"a": "running", "b": None, "tell": None}, True, True),
        (None, {"a": "success", "b": "running", "tell": None}, True, True),
        (None, {"a": "running", "b": "running"}, False, True),
    ],
)
def test_the_last_stage_of_a_run_removes_its_copy(
    chain: Path, ended: type[Exception] | None, states: dict[str, str], after: bool, kept: bool
) -> None:
    dag = DvcDag("d", root=chain, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
    if after:
        EmptyOperator(task_id="tell", dag=dag, trigger_rule="all_done").set_upstream(
            list(dag.stages.values())
        )
    task = dag.stages["b" if states["b"] else "a"]

    def ti(**state: bool) -> Any:  # noqa: ANN401 - what the code asks of Airflow
        return SimpleNamespace(
            dag_id="d",
            run_id="r",
            task_id=task.task_id,
            try_number=1,
            max_tries=1,
            get_task_states=lambda **_: {"r": states},
            get_dr_count=lambda **asked: int(not asked["states"] or state["runs"]),
        )

    place = Workspace.of(chain, ("d", "r"), ["lr=2"])
    place.root.mkdir(parents=True)
    (place.place / NOTE).write_text(json.dumps({"dag_id": "d", "run_id": "r", "locks": []}))
    raised = pytest.raises(ended) if ended else contextlib.nullcontext()
    with raised, removed_by_the_last(task, ti(), place):
        if ended:
            raise ended
    assert place.root.exists() == kept
    later = Workspace.of(chain, ("d", "later"), [])
    sweep_copies(later, ti(runs=True))
    assert place.root.exists() == kept
    sweep_copies(later, ti(runs=False))
    assert not place.root.exists()

"""Parameters of any repository replaced for one run, in DVC's own grammar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

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

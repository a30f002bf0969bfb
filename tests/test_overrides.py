"""Which parameters a run may replace, and by what."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from housing.domain.config import load_params
from housing.domain.overrides import LONGEST, override, shaping_evidence
from housing.errors import ConfigError

PARAMS = (Path(__file__).parent / "params.yaml").read_text()


def fault(*pairs: str) -> str:
    with pytest.raises(ConfigError) as refused:
        override(PARAMS, pairs)
    return str(refused.value)


def test_an_override_replaces_one_value() -> None:
    pairs = ["train.xgboost.max_depth=8", "candidates=[xgboost]"]
    content, plain = yaml.safe_load(override(PARAMS, pairs)), yaml.safe_load(PARAMS)
    assert content.pop("candidates") == ["xgboost"]
    assert content["train"]["xgboost"].pop("max_depth") == 8
    del plain["candidates"], plain["train"]["xgboost"]["max_depth"]
    assert content == plain


def test_a_value_that_does_not_fit_is_refused_by_the_models(tmp_path: Path) -> None:
    assert "seed: Input should be greater than or equal to 0" in fault("seed=-1")
    copy = tmp_path / "params.yaml"
    copy.write_text(override(PARAMS, ["seed=8"]))
    assert load_params(copy).seed == 8


@pytest.mark.parametrize(
    "pair",
    ["gate.min_r2=-5", "gate={}", " gate.max_rmse =1e9", "registry.auto_champion=true"],
)
def test_the_limits_and_the_names_of_the_registry_are_no_overrides(pair: str) -> None:
    said = fault(pair, "train.xgboost.max_depth=8")
    assert "no run replaces gate or registry" in said
    assert "1 fault(s)" in said


def test_a_bomb_of_aliases_is_refused_in_a_short_message() -> None:
    levels = ["&a0 [x,x,x,x,x,x,x,x,x]"]
    levels += [f"&a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 8)]
    said = fault(f"features.rotations=[{','.join(levels)}]")
    assert "anchors" in said
    assert len(said) < 1000


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("*x", "aliases"),
        ("!!python/name:os.system", "tags"),
        ("[" * 1500 + "]" * 1500, "deeper than 5"),
        ("[1", "features.rotations: "),
        ("\x00", "features.rotations: "),
        ("9" * 5000, "5,019 characters"),
        ("1\u2028gate.min_r2=-5", "one line"),
    ],
)
def test_a_value_is_short_plain_yaml_on_one_line(value: str, said: str) -> None:
    message = fault(f"features.rotations={value}")
    assert said in message
    assert len(message) < LONGEST


def test_what_shapes_the_evidence_is_known() -> None:
    harmless = ["train.xgboost.max_depth=8", "candidates=[xgboost]", "features.rotations=[]"]
    assert shaping_evidence(harmless) == ()
    shaping = ["seed=8", "data.columns.target.max=3", "features={}", "features.places={}"]
    shaping += ["evaluate.coverage=0.5", "split.test=0.1", "data.landing=/tmp", "ingest={}"]
    assert len(shaping_evidence(shaping)) == len(shaping)
    assert shaping_evidence(["trained=1", "seeds=1"]) == ()

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from housing.domain.config import load_params, load_registered, load_what_holds, parse_params
from housing.errors import ConfigError
from housing.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture
def content() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_projects_own_file_is_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.data.target == "target"
    assert params.data.location == ("Latitude", "Longitude")
    assert "target" not in params.data.inputs


def test_parameters_are_frozen() -> None:
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValidationError):
        params.seed = 1  # type: ignore[misc]  # that is what the test is about


def test_all_faults_are_reported_together(content: dict[str, Any]) -> None:
    content["seed"] = -1
    content["typo"] = True
    content["train"]["xgboost"]["max_depth"] = "deep"
    del content["gate"]["min_r2"]
    with pytest.raises(ConfigError) as caught:
        parse_params(content)
    message = str(caught.value)
    assert "4 fault(s)" in message
    for line in (
        "seed: Input should be greater than or equal to 0, got -1",
        "typo: Extra inputs are not permitted",
        "train.xgboost.max_depth: Input should be a valid integer",
        "got 'deep'",
        "gate.min_r2: Field required",
        "next: edit params.yaml",
    ):
        assert line in message


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("candidates", ["forest"], "candidates names 'forest', which train does not define"),
        ("train.xgb%", {}, "'xgb%' is no name for a candidate: use letters, digits, _, - and ."),
        ("train.a b", {}, "'a b' is no name for a candidate"),
        ("train.a/b", {}, "'a/b' is no name for a candidate"),
        ("train.-h", {}, "'-h' is no name for a candidate"),
        ("split.test", 0.9, "leave no row for training"),
        ("data.identity", ["Nowhere"], "identity names no column: Nowhere"),
        ("data.identity", ["target"], "the target cannot be part of a row's identity"),
        ("data.columns.MedInc.role", "target", "exactly one column has the role target, not 2"),
        ("data.columns.Latitude.role", "feature", "come as a pair"),
        ("data.columns.MedInc.min", 21, "min 21.0 is above max 20.0"),
        ("data.columns.MedInc.categories", ["a"], "categories are for strings"),
        ("data.columns.MedInc.scale", 2, "scale is for the target only"),
        ("data.columns.target.nullable", True, "the target cannot be nullable"),
        ("data.columns.MedInc.type", "string", "min and max are for numbers"),
        ("data.columns.row", {"type": "int"}, "names that the pipeline's own columns have: row"),
        ("data.columns._id", {"type": "int"}, "names that the pipeline's own columns have: _id"),
        ("features.ratios.x", ["MedInc", "Missing"], "which is no numeric input column"),
        ("features.places.moon", [91.0, 0.0], "less than or equal to 90"),
    ],
)
def test_each_fault_is_named(
    content: dict[str, Any], path: str, value: object, message: str
) -> None:
    *parents, key = path.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    section[key] = value
    with pytest.raises(ConfigError, match=message):
        parse_params(content)


def test_places_need_a_location(content: dict[str, Any]) -> None:
    for column in ("Latitude", "Longitude"):
        content["data"]["columns"][column]["role"] = "feature"
    with pytest.raises(ConfigError, match="need a latitude and a longitude"):
        parse_params(content)


def test_a_missing_file_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist") as caught:
        load_params(tmp_path / "params.yaml")
    assert "git checkout" in caught.value.hint


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("seed: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_params(path)


def test_names_that_mlflow_could_not_tell_apart_are_refused(content: dict[str, Any]) -> None:
    content["data"]["columns"] |= {"tax ($)": {"type": "float"}, "tax (%)": {"type": "float"}}
    with pytest.raises(ConfigError, match=r"differ in signs only: tax \(\$\), tax \(%\)"):
        parse_params(content)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("HOUSING_RETRIES", "0")
    settings = load_settings()
    assert (settings.store, settings.retries) == ("http://127.0.0.1:5000", 0)
    assert settings.artifact_location is None


VALUES = {
    "root": ("/somewhere", Path("/somewhere")),
    "mlflow_timeout": ("2.5", 2.5),
    "retries": ("7", 7),
    "retry_delay": ("1.5", 1.5),
    "overrides": ('["seed=2"]', ("seed=2",)),
    "approval_hours": ("8", 8.0),
}


@pytest.mark.parametrize(
    ("field", "variable"), re.findall(r"^ +(\w+): ``([A-Z_]+)``:", Settings.__doc__ or "", re.M)
)
def test_every_setting_is_read_from_its_documented_variable(
    field: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, value = VALUES.get(field, ("some text", "some text"))
    monkeypatch.setenv(variable, text)
    assert getattr(load_settings(), field) == value


def test_every_setting_is_documented() -> None:
    documented = re.findall(r"^ +(\w+): ``", Settings.__doc__ or "", re.M)
    assert documented == list(Settings.model_fields)


def test_settings_default_to_a_store_under_the_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = load_settings(tmp_path)
    assert settings.store == f"sqlite:///{tmp_path}/.mlflow/mlflow.db"
    assert settings.artifact_location == (tmp_path / ".mlflow" / "artifacts").as_uri()


def test_all_faults_of_the_environment_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSING_RETRIES", "-1")
    monkeypatch.setenv("HOUSING_MLFLOW_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match=r"2 fault\(s\)") as raised:
        load_settings()
    assert "HOUSING_RETRIES: " in str(raised.value)
    assert "HOUSING_MLFLOW_TIMEOUT: " in str(raised.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("seed: 7", "seed: seven"),
        ("  linear:\n", "<<<<<<< ours\n  linear:\n"),
        ("gate:\n", "gate: [\n"),
        ("registry:\n", "<<<<<<< ours\nregistry:\n"),
        (
            "seed: 7\n",
            "registry: {model: housing-price, staging: staging, champion: champion}\n"
            "<<<<<<< ours\nseed: 7\n=======\n",
        ),
    ],
)
def test_the_names_in_the_registry_are_read_whatever_else_is_broken(
    tmp_path: Path, before: str, after: str
) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "params.yaml"
    broken.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigError):
        load_params(broken)
    names = load_registered(broken).registry
    assert names == load_params(ROOT / "params.yaml").registry
    assert load_what_holds(broken).registry == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 7\n", "registry: Field required"),
        ("registry: {model: m, staging: s}\n", "registry.champion: Field required"),
        ("registry:\n<<<<<<< ours\n  model: m\n", "is not YAML"),
        ("a: [\nregistry:\n  model: m\n<<<<<<< ours\n  staging: s\n=======\n", "is not YAML"),
        ("<<<<<<< a\nregistry: {model: m}\n=======\nregistry: {model: n}\n", "is not YAML"),
        ("- a\n", "registry: Field required"),
    ],
)
def test_a_fault_among_the_names_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_registered(tmp_path / "params.yaml")

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from housing.domain.config import (
    load_params,
    load_registered,
    load_scoring,
    load_what_holds,
    parse_params,
)
from housing.errors import ConfigError
from housing.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture
def content() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(
        (ROOT / "tests/params.yaml").read_text(encoding="utf-8")
    )
    return loaded


def test_the_projects_own_file_is_valid() -> None:
    assert load_params(ROOT / "params.yaml").candidates


def test_the_examples_file_is_valid() -> None:
    params = load_params(ROOT / "examples/king-county/params.yaml")
    assert params.split.by == "date"
    assert params.data.identity == ("id",)


def test_the_columns_are_told_by_their_roles() -> None:
    params = load_params(ROOT / "tests/params.yaml")
    assert params.data.target == "target"
    assert params.data.location == ("Latitude", "Longitude")
    assert "target" not in params.data.inputs


def test_parameters_are_frozen() -> None:
    params = load_params(ROOT / "tests/params.yaml")
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
        ("candidates", ["forest"], "candidates: names 'forest', which train does not define"),
        ("train.xgb%", {}, "'xgb%' is no name for a candidate: use letters, digits, _, - and ."),
        ("train.a b", {}, "'a b' is no name for a candidate"),
        ("train.a/b", {}, "'a/b' is no name for a candidate"),
        ("train.-h", {}, "'-h' is no name for a candidate"),
        ("candidates", ["linear", "linear"], "candidates: names 'linear' twice"),
        ("seed", 2**31, "seed: Input should be less than 2147483648"),
        ("split.test", 0.9, "split.test: 0.9 and split.validation, 0.16, leave no row"),
        ("data.identity", ["Nowhere"], "data.identity: names no column: Nowhere"),
        ("data.identity", ["target"], "data.identity: the target, target, cannot be part"),
        ("data.identity", ["Latitude", "Latitude"], "data.identity: names 'Latitude' twice"),
        (
            "data.columns.MedInc.role",
            "target",
            r"data.columns: exactly one column has the role target, not 2 \(MedInc, target\)",
        ),
        (
            "data.columns",
            {"target": {"type": "float", "role": "target"}, "lot": {"type": "int", "role": "id"}},
            "data.columns: no column has the role feature, latitude or longitude",
        ),
        ("data.columns.Latitude.role", "feature", "data.columns: latitude and longitude come as a"),
        ("data.columns.MedInc.min", 21, "data.columns.MedInc.min: 21 is above max, 20"),
        ("data.columns.MedInc.min", "21", "data.columns.MedInc.min: 21 is above max, 20"),
        ("data.columns.MedInc.max", float("inf"), "data.columns.MedInc.max: .* finite number"),
        ("data.columns.MedInc.categories", ["a"], "data.columns.MedInc.categories: are for str"),
        ("data.columns.MedInc.scale", 2, "data.columns.MedInc.scale: is for the target only"),
        ("data.columns.target.nullable", True, "data.columns.target.nullable: the target cannot"),
        ("data.columns.target.min", 0, "data.columns.target.min: 0 lets prices of 0 by"),
        ("data.columns.MedInc.type", "string", "data.columns.MedInc.min: is for numbers"),
        ("data.columns.MedInc.type", "bool", "data.columns.MedInc.min: is for numbers and dates"),
        ("data.columns.MedInc.type", "date", "data.columns.MedInc.min: 0.* is no day such as"),
        ("data.columns.MedInc.max", "soon", "MedInc.max: Input should be a finite number, or a d"),
        ("data.columns.MedInc.max", True, "MedInc.max: Input should be a finite number, or a day"),
        ("data.columns.MedInc.max", "2014-05-31", "MedInc.max: 2014-05-31 is a day, and the type"),
        ("data.columns.MedInc.format", "%Y", "data.columns.MedInc.format: is for dates, and"),
        ("data.columns.MedInc.nulls", [True], "data.columns.MedInc.nulls.0: Input should be a"),
        (
            "data.columns.sold",
            {"type": "date", "min": "2015-01-02", "max": "2015-01-01"},
            "data.columns.sold.min: 2015-01-02 is above max, 2015-01-01",
        ),
        (
            "data.columns.sold",
            {"type": "date", "min": dt.date(2014, 5, 1)},
            'sold.min: write the day in quotes, "2014-05-01": DVC reads no date of YAML',
        ),
        ("data.columns.sold", {"type": "date", "format": "%H:%M"}, "sold.format: tells no day:"),
        ("data.columns.sold", {"type": "date", "role": "latitude"}, "sold.role: latitude needs a"),
        ("data.columns.id", {"type": "int", "role": "id"}, "data.identity: leaves out id, which"),
        (
            "data.columns.id",
            {"type": "int", "role": "id", "nullable": True},
            "data.columns.id.nullable: rows without an id would all be one house",
        ),
        ("split.by", "Nowhere", "split.by: names no column of dates or numbers: Nowhere"),
        ("split.by", "target", "split.by: names no column of dates or numbers: target"),
        ("features.ages", {"age": ["HouseAge", "Nowhere"]}, "features.ages.age: 'Nowhere' is no"),
        ("features.ages", {"MedInc": ["HouseAge", "AveOccup"]}, "features.ages.MedInc: .* twice"),
        ("data.columns.row", {"type": "int"}, "data.columns.row: the name 'row' is taken"),
        ("data.columns._id", {"type": "int"}, "data.columns._id: the name '_id' is taken"),
        ("data.columns.predicted", {"type": "int"}, "data.columns.predicted: .* is taken"),
        ("data.columns.km_to_san_jose", {"type": "int"}, "features.places.san_jose: .* twice"),
        ("data.columns.rotated_30_x", {"type": "int"}, "features.rotations: .* is taken twice"),
        (
            "features.ratios.MedInc",
            ["AveRooms", "AveOccup"],
            "features.ratios.MedInc: the name 'MedInc' is taken twice, also by data.columns.MedInc",
        ),
        ("features.ratios._row", ["AveRooms", "AveOccup"], "features.ratios._row: .* is taken"),
        ("features.rotations", [30, 30.0], "features.rotations: .* 'rotated_30_x' is taken twice"),
        ("features.ratios.x", ["MedInc", "Missing"], "features.ratios.x: 'Missing' is no numeric"),
        ("features.ratios.x", ["MedInc", "target"], "features.ratios.x: 'target' is no numeric"),
        ("features.places.moon", [91.0, 0.0], "features.places.moon.0: .* equal to 90"),
        ("data.csv", {"separator": ";;"}, "data.csv.separator: must be one sign of ASCII"),
        ("data.csv", {"encoding": "latin-x"}, "data.csv.encoding: Python knows no text encoding"),
        ("data.csv", {"encoding": "hex"}, "data.csv.encoding: Python knows no text encoding"),
        ("gate.max_rmse", float("inf"), "gate.max_rmse: Input should be a finite number, got inf"),
        ("registry.model", "housing/price:1", "registry.model: MLflow takes no name with / or :"),
        ("registry.staging", "v1", "registry.staging: MLflow keeps 'v1' for itself"),
        ("registry.champion", "Latest", "registry.champion: MLflow keeps 'Latest' for itself"),
        ("registry.staging", "a b", "registry.staging: an alias has letters, digits, _ and -"),
        ("registry.staging", "champion", "registry.staging: 'champion' is the alias of registry."),
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


def test_columns_that_are_no_input_are_no_features_either(content: dict[str, Any]) -> None:
    content["data"]["columns"]["HouseAge"]["role"] = "ignore"
    content["data"]["columns"]["AveOccup"] = {"type": "date", "nullable": True}
    content["data"]["columns"]["AveOccup_year"] = {"type": "int"}
    content["features"]["ratios"] = {"x": ["HouseAge", "AveOccup"]}
    content["features"]["ages"] = {"age": ["AveOccup", "HouseAge"]}
    content["split"]["by"] = "AveOccup"
    with pytest.raises(ConfigError) as caught:
        parse_params(content)
    assert [line.strip(" -") for line in caught.value.fact.splitlines()[1:]] == [
        "split.by: a row without AveOccup would have no side: it must not be nullable",
        "features.ratios.x: 'HouseAge' is no numeric input column",
        "features.ratios.x: 'AveOccup' is no numeric input column",
        "features.ages.age: 'HouseAge' is no input column of dates or years",
        "data.columns.AveOccup: the name 'AveOccup_year' is taken twice, also by "
        "data.columns.AveOccup_year",
    ]


def test_the_identity_is_made_of_the_columns_with_the_role_id(content: dict[str, Any]) -> None:
    content["data"]["columns"] |= {
        "parcel": {"type": "string", "role": "id"},
        "sold": {"type": "date", "min": "2014-05-01", "nulls": ["NA", 0]},
        "agent": {"type": "string", "role": "ignore", "nullable": True},
    }
    del content["data"]["identity"]
    params = parse_params(content)
    assert params.data.identity == ("parcel",)
    assert {"parcel", "agent", "target"}.isdisjoint(params.data.inputs)
    assert params.data.columns["sold"].nulls == ("NA", "0")
    assert parse_params(params.model_dump(mode="json")) == params, "as a logged model keeps it"


def test_faults_of_all_kinds_come_together(tmp_path: Path) -> None:
    text = (ROOT / "tests/params.yaml").read_text(encoding="utf-8")
    for right, wrong in (
        ("seed: 7", "seed: -1"),
        ("MedInc: { type: float, min: 0, max: 20", "MedInc: { type: flaot, min: 30, max: 20"),
        ("identity: [Latitude, Longitude]", "identity: [Nowhere]"),
        ("test: 0.20", "test: 0.9"),
        ("[linear, xgboost]", "[linear, linear, forest]"),
        ("max_rmse: 50000", "max_rmse: .inf"),
        ("  min_r2: 0.75", "  min_r2: 0.75\n  golden_rows: 40"),
        ("staging: staging", "staging: champion"),
    ):
        assert right in text
        text = text.replace(right, wrong, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    keys = [line.split(": ")[0] for line in caught.value.fact.splitlines()[1:]]
    assert sorted(keys) == [
        "  - candidates",
        "  - candidates",
        "  - data.columns.MedInc.min",
        "  - data.columns.MedInc.type",
        "  - data.identity",
        "  - gate.golden_rows",
        "  - gate.max_rmse",
        "  - registry.staging",
        "  - seed",
        "  - split.test",
    ]
    assert caught.value.__suppress_context__, "Airflow shows the message, not the validator's"


@pytest.mark.parametrize("broken", [None, 3, [], "x", {"data": {"columns": [1], "identity": 3}}])
def test_no_content_breaks_the_rules(broken: object) -> None:
    with pytest.raises(ConfigError, match="fault"):
        parse_params(broken)


@pytest.mark.parametrize("key", ["data", "split", "features", "candidates", "train", "registry"])
@pytest.mark.parametrize("value", [None, 3, "x", [None, 3], {"a": None, 3: [{}]}])
def test_a_section_of_another_shape_is_told(
    content: dict[str, Any], key: str, value: object
) -> None:
    content[key] = value
    with pytest.raises(ConfigError, match=rf"- {key}"):
        parse_params(content)


def test_places_need_a_location(content: dict[str, Any]) -> None:
    for column in ("Latitude", "Longitude"):
        content["data"]["columns"][column]["role"] = "feature"
    with pytest.raises(
        ConfigError, match=r"features\.places: need a column with the role latitude"
    ):
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


def test_a_file_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"seed: 7\nname: caf\xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text: line 2 has the byte 0xe9"):
        load_params(path)


def test_a_key_that_is_there_twice_is_named(tmp_path: Path) -> None:
    text = (ROOT / "tests/params.yaml").read_text(encoding="utf-8") + "seed: 8\n"
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("  test: 0.20\n", "  test: 0.20\n  test: 0.30\n"))
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    assert "2 fault(s)" in caught.value.fact
    assert "split.test: is there twice, again on line" in caught.value.fact
    assert "seed: is there twice, again on line" in caught.value.fact


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
    "project": ("/somewhere", Path("/somewhere")),
    "stack": ("true", True),
    "overrides": ('["seed=2"]', ("seed=2",)),
    "approval_hours": ("8", 8.0),
    "workspace_kind": ("isolated", "isolated"),
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
    text = (ROOT / "tests/params.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "params.yaml"
    broken.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigError):
        load_params(broken)
    names = load_registered(broken).registry
    assert names == load_params(ROOT / "tests/params.yaml").registry
    assert load_what_holds(broken).registry == names
    if "seed" in after or "linear" in after:  # neither of the sections that scoring needs
        assert load_scoring(broken).data == load_params(ROOT / "tests/params.yaml").data


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

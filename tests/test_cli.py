from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from housing.cli import app, main
from housing.cli.console import console_of
from housing.cli.outcome import Outcome, show
from housing.domain.config import load_params

ROOT = Path(__file__).parents[1]
REPORT: dict[str, Any] = {
    "candidate": "xgboost",
    "metrics": {"rmse": 41_000.0, "mae": 27_000.0, "r2_score": 0.87, "mape": 15.0},
    "intervals": {"rmse": {"low": 39_000.0, "high": 43_000.0}},
    "rows": {"test": 4_000},
    "confidence": 0.95,
}


def summary(**changes: object) -> dict[str, Any]:
    stage = {
        "stage": "ingest_data",
        "state": "ran",
        "seconds": 2.0,
        "saved_seconds": 0.0,
        "reasons": ["dep data/landing: 1 -> 2"],
    }
    plain: dict[str, Any] = {
        "state": "success",
        "stages": [stage],
        "failures": {},
        "words": {},
        "verdict": None,
        "promotion": None,
        "data": ["2 rows in 1 file(s): 1 kept, 1 quarantined, 0 duplicates"],
    }
    return {**plain, **changes}


def verdict(*, passed: bool) -> dict[str, Any]:
    check = {"name": "rmse", "passed": passed, "sentence": "RMSE $60,000 is above $50,000."}
    return {"passed": passed, "unchanged": False, "against": "3", "checks": [check]}


def shown(outcome: Outcome) -> str:
    text = io.StringIO()
    show(outcome, Console(file=text, width=200))
    return text.getvalue()


def outcome(**changes: object) -> Outcome:
    pages = "Airflow at http://127.0.0.1:9, MLflow at http://127.0.0.1:8"
    return Outcome(summary(**changes), REPORT, "housing-price", "staging", pages)


def test_a_promotion_shows_the_model_and_its_version() -> None:
    done = outcome(verdict=verdict(passed=True), promotion={"version": "4", "alias": "staging"})
    text = shown(done)
    assert done.exit_code == 0
    assert "housing-price version 4 is staging" in text
    assert "RMSE $41,000" in text
    assert "1 kept, 1 quarantined" in text
    assert "between $39,000 and $43,000 at 95%" in text
    assert "dep data/landing" in text
    assert "make up    Airflow at http://127.0.0.1:9" in text, "the ports that are remembered"


def test_a_rejection_has_an_exit_code_of_its_own_and_its_reasons() -> None:
    done = outcome(verdict=verdict(passed=False))
    text = shown(done)
    assert done.exit_code == 3
    assert "rejected: RMSE $60,000 is above $50,000." in text
    assert "version 3 is staging" in text


def test_a_failed_task_shows_its_message() -> None:
    done = outcome(state="failed", failures={"train_model.linear": "exit code 1"})
    assert done.exit_code == 1
    assert "train_model.linear: exit code 1" in shown(done)
    said = {"train_model.linear": "no column income"}
    assert "train_model.linear: no column income" in shown(
        outcome(state="failed", failures={"train_model.linear": "exit code 1"}, words=said)
    )
    assert "next    housing run, once that is mended" in shown(done)


def test_a_run_before_any_model_needs_no_report() -> None:
    done = Outcome(summary(), None, "housing-price", "staging")
    assert done.exit_code == 0
    assert "nothing to judge" in shown(done)


def test_json_holds_what_the_tables_show() -> None:
    content = outcome(verdict=verdict(passed=True)).to_dict()
    assert content["model"]["rmse"] == 41_000.0
    assert content["registry"] == {"model": "housing-price", "alias": "staging", "version": "3"}
    assert json.loads(json.dumps(content)) == content


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\nno_scm = true\n", encoding="utf-8")
    (tmp_path / "data" / "landing").mkdir(parents=True)
    (tmp_path / "data" / "landing" / "first.csv").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOUSING_ROOT", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / ".airflow"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def findings(*, exit_code: int) -> dict[str, dict[str, str]]:
    done = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)
    assert done.exit_code == exit_code
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.usefixtures("project")
def test_doctor_finds_nothing_wrong_with_a_good_setup() -> None:
    found = findings(exit_code=0)
    assert {name for name, finding in found.items() if finding["state"] == "ok"} >= {
        "params.yaml",
        "dvc.yaml",
        "deliveries",
        "MLflow",
        "Airflow",
    }


def test_doctor_tells_what_is_no_delivery(project: Path) -> None:
    landing = project / "data" / "landing"
    (landing / "x.csv").mkdir()
    (landing / "y.xlsx").touch()
    found = findings(exit_code=0)["deliveries"]
    assert found["state"] == "warning"
    assert found["detail"].startswith("1 file(s)")
    assert found["detail"].endswith("left out: x.csv/, y.xlsx")
    (landing / "z.csv").symlink_to("nowhere")
    found = findings(exit_code=1)["deliveries"]
    assert "z.csv is a link that leads nowhere" in found["detail"]


def test_doctor_names_each_fault_and_what_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "data" / "landing" / "first.csv").unlink()
    (project / "dvc.yaml").write_text("stages: [", encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    found = findings(exit_code=1)
    assert {name for name, finding in found.items() if finding["state"] == "fault"} == {
        "dvc.yaml",
        "deliveries",
        "MLflow",
    }
    assert all(finding["hint"] for finding in found.values() if finding["state"] == "fault")


CONFLICT = """schema: '2.0'
stages:
<<<<<<< HEAD
  one: {cmd: a}
=======
  one: {cmd: b}
>>>>>>> theirs
"""


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("dvc.yaml", "stages: [", ["dvc.yaml", "correct the file"]),
        ("dvc.lock", CONFLICT, ["dvc.lock", "merge in line 3", "git checkout --theirs dvc.lock"]),
        ("dvc.lock", "stages: 3", ["dvc.lock", "git checkout dvc.lock && dvc repro"]),
    ],
)
def test_a_broken_file_of_the_pipeline_is_named_with_the_way_out(
    file: str, text: str, said: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / file).write_text(text, encoding="utf-8")
    found = findings(exit_code=1)["dvc.yaml"]
    monkeypatch.setattr("sys.argv", ["housing", "run"])
    with pytest.raises(SystemExit) as ended:
        main()
    for words in said:
        assert words in f"{found['detail']} {found['hint']}"
        assert words in str(ended.value)
    assert not (project / ".airflow/airflow.db").exists(), "Airflow was not started for that"


@pytest.mark.usefixtures("project")
def test_in_the_stack_the_doctor_names_what_works_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSING_STACK", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    found = findings(exit_code=1)
    assert "(make stack)" in found["MLflow"]["hint"]
    assert found["git"]["hint"] == "make stack"  # builds the image with its revision
    monkeypatch.setenv("HOUSING_GIT_REVISION", "abc123")
    assert findings(exit_code=1)["git"]["state"] == "ok"


@pytest.mark.usefixtures("project")
def test_doctor_draws_a_table_for_people() -> None:
    done = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    assert done.exit_code == 0
    params = load_params(ROOT / "params.yaml")
    assert f"candidates: {', '.join(params.candidates)}" in done.stdout


def test_run_refuses_to_put_airflow_into_the_home_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIRFLOW_HOME")
    monkeypatch.setattr("sys.argv", ["housing", "run"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert "UV_ENV_FILE=local.env" in str(ended.value)
    assert not (project / ".airflow").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("name", "fact"),
    [("nope.csv", "there is no file nope.csv"), ("params.yaml", "params.yaml")],
)
def test_what_is_wrong_with_a_file_is_told_before_what_the_registry_lacks(
    name: str, fact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["predict", name], ["explain", name, "1"]):
        monkeypatch.setattr("sys.argv", ["housing", *command])
        with pytest.raises(SystemExit) as ended:
            main()
        assert fact in str(ended.value)
        assert "champion" not in str(ended.value)


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    (stage,) = summary()["stages"]
    text = shown(
        outcome(
            state="failed",
            stages=[stage | {"reasons": ["cmd: grep [a-z]* x"]}],
            failures={"ingest_data": "no file in [/data/raw]"},
        )
    )
    assert "grep [a-z]* x" in text
    assert "no file in [/data/raw]" in text


def test_a_task_that_did_not_run_is_no_success() -> None:
    (stage,) = summary()["stages"]
    done = outcome(stages=[stage, stage | {"stage": "tail", "state": "upstream_failed"}])
    assert done.exit_code == 1
    assert outcome(stages=[stage | {"state": "left out"}]).exit_code == 0


def test_doctor_warns_of_an_airflow_of_somebody_else(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", f"{project.parent}/[/airflow]")
    found = findings(exit_code=0)["Airflow"]
    assert found["state"] == "warning"
    assert "outside" in found["detail"]
    assert CliRunner().invoke(app, ["doctor"], catch_exceptions=False).exit_code == 0
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://airflow@postgres/a")
    assert findings(exit_code=0)["Airflow"]["state"] == "ok"


def test_an_error_is_json_too_where_that_was_asked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "params.yaml").write_text("seed: 7", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["housing", "champion", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert "params.yaml has" in told["error"]
    assert told["next"]


def test_a_command_without_the_packages_of_its_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["housing", "champion"])
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    monkeypatch.setattr("housing.cli.aliases.show_contest", lambda *_, **__: __import__("mlflow"))
    with pytest.raises(SystemExit) as told:
        main()
    assert "needs mlflow, which is not installed" in str(told.value)
    assert "pip install 'housing[houses]'" in str(told.value)


def test_the_version_can_be_asked_for() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout.startswith("housing 0.")


def test_without_a_terminal_no_path_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    long = f"out {'data/interim/' * 20}houses.parquet: 1 -> 2"
    (stage,) = summary()["stages"]
    show(outcome(stages=[stage | {"reasons": [long]}]), console_of())
    assert long in capsys.readouterr().out

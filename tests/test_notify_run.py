"""Notifications in real Airflow runs: what people get, and what nobody ever sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from housing.orchestration.task_logs import own_words
from tests.airflow_project import Project
from tests.fake_channels import MAIL_SECRET, SECRET, Slack, playing_slack

ROOT = Path(__file__).parent.parent
DAG = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowSkipException
from housing.engine.airflow.error_handling import ERROR_KEY
from housing.orchestration import xcom_keys
from housing.orchestration.finish_tasks import FailureAlertOperator
from housing.orchestration.notify_tasks import NotifyOperator

VERDICT = {
    "result": "0123456789abcdef", "run_id": "run7", "alias": "staging", "against": "3",
    "metrics": {"rmse": 41000.0}, "rival_metrics": {"rmse": 42000.0},
}
root = str(Path(__file__).parent)

@task
def validate(params, ti):
    if params["mode"] == "unchanged":
        raise AirflowSkipException("promoted already")
    passed = params["mode"] not in {"rejected", "told"}
    if params["mode"] == "told":
        ti.xcom_push(xcom_keys.TOLD_BY, "the run of yesterday")
    check = {"name": "rmse", "passed": passed, "value": 1, "limit": 2, "sentence": "RMSE is high"}
    ti.xcom_push(xcom_keys.VERDICT, {**VERDICT, "passed": passed, "checks": [check]})
    if not passed:
        raise AirflowFailException("the gate rejected it")

@task
def promote(params, ti):
    if params["mode"] == "broken":
        ti.xcom_push(ERROR_KEY, "the registry does not answer")
        raise RuntimeError("the registry does not answer")
    return {"version": "4", "alias": "staging"}

with DAG("tiny", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None,
         params={"mode": Param("promoted", type="string")}):
    promoted = promote()
    judged = validate()
    alert = FailureAlertOperator(task_id="alert", validate="validate")
    judged >> promoted >> alert
    for channel in ("slack", "mail"):
        notify = NotifyOperator(task_id=f"notify_{channel}", channel=channel, root=root,
                                validate="validate", promote="promote", alert="alert")
        [promoted, alert] >> notify
"""


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with playing_slack() as server:
        yield server


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("notify")
    (root / "dag.py").write_text(DAG)
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return Project(root)


@pytest.fixture(scope="module")
def runs(project: Project, slack: Slack) -> dict[str, dict[str, Any]]:
    modes = ("promoted", "rejected", "broken", "unchanged", "told", "dead")
    # Each of the first three runs sends one message; from the fourth on Slack is gone.
    slack.answers += [(200, {})] * 3 + [(404, {})]
    steps = [("true", {"mode": mode}) for mode in modes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_SLACK_DEFAULT", slack.connection)
        patch.setenv("MLFLOW_TRACKING_URI", f"http://ann:{MAIL_SECRET}@mlflow.example.com/")
        return dict(zip(modes, project.run(*steps), strict=True))


def told(slack: Slack, number: int) -> str:
    """Everything that one message to Slack says."""
    blocks: list[dict[str, Any]] = slack.bodies[number]["blocks"]
    return "\n".join(block["text"]["text"] for block in blocks)


def test_a_promotion_is_told(runs: dict[str, dict[str, Any]], slack: Slack) -> None:
    assert runs["promoted"]["states"]["notify_slack"] == "success"
    text = told(slack, 0)
    assert "housing-price version 4 is now staging" in text
    assert "$41,000" in text
    assert "$42,000" in text
    assert f"/dags/tiny/runs/{runs['promoted']['run_id'].split('T')[0]}" in text
    assert "<http://mlflow.example.com/#/runs/run7|MLflow run>" in text


def test_a_rejection_is_told(runs: dict[str, dict[str, Any]], slack: Slack) -> None:
    assert runs["rejected"]["states"]["notify_slack"] == "success"
    assert "the gate rejected a model" in told(slack, 1)
    assert "*reasons:* RMSE is high" in told(slack, 1)


def test_a_rejection_is_red_in_the_grid_and_no_failure_of_the_run(
    runs: dict[str, dict[str, Any]],
) -> None:
    run = runs["rejected"]
    assert (run["states"]["validate"], run["state"]) == ("failed", "success")
    assert run["xcoms"]["alert.return_value"] == {}


def test_a_failed_task_is_told(runs: dict[str, dict[str, Any]], slack: Slack) -> None:
    assert runs["broken"]["states"]["notify_slack"] == "success"
    assert "promote failed" in told(slack, 2)
    assert "the registry does not answer" in told(slack, 2)


def test_nothing_new_is_not_told(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["unchanged"]["states"]["notify_slack"] == "skipped"


def test_a_rejection_that_people_know_is_not_told_again(runs: dict[str, dict[str, Any]]) -> None:
    states = runs["told"]["states"]
    assert (states["alert"], states["notify_slack"]) == ("skipped", "skipped")


def test_a_dead_slack_fails_nothing(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["dead"]["state"] == "success"
    assert runs["dead"]["states"]["promote"] == "success"
    assert runs["dead"]["states"]["notify_slack"] == "skipped"


def test_a_channel_that_is_not_configured_logs_the_message(
    runs: dict[str, dict[str, Any]], project: Project
) -> None:
    assert runs["promoted"]["states"]["notify_mail"] == "skipped"
    log = (project.root / "driver.log").read_text()
    assert "HOUSING_MAIL_TO" in log
    assert "housing-price version 4 is now staging" in log


@pytest.mark.usefixtures("runs")
def test_the_secret_is_nowhere(project: Project) -> None:
    secrets = SECRET.encode(), MAIL_SECRET.encode()
    files = [path for path in project.root.rglob("*") if path.is_file()]
    assert any(path.name == "airflow.db" for path in files)
    told = [path for path in files if any(secret in path.read_bytes() for secret in secrets)]
    assert told == []


def test_a_failed_stage_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path))
    assert own_words("dag", "run", "ingest") == ""
    folder = tmp_path / "dag_id=dag" / "run_id=run" / "task_id=ingest"
    folder.mkdir(parents=True)
    said = ["error: an older one", "error: bad.csv has no column x", "  next: mend it", "failed"]
    lines = "".join(json.dumps({"event": event}) + "\n" for event in said)
    (folder / "attempt=1.log").write_text(lines)
    assert own_words("dag", "run", "ingest") == "bad.csv has no column x\n  next: mend it"

"""More files wait than Airflow maps over, and one of them is torn: two real Airflow runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import polars as pl
import pytest

from housing.mlops import registry
from housing.mlops.batch_scoring import INBOX, OUTBOX
from housing.orchestration.scoring_tasks import ScoreFileOperator
from tests.airflow_project import run_steps_beside
from tests.fake_channels import Slack, playing_slack
from tests.synthetic import Workspace, houses, make_params, under_model

NAMES = ("april", "june", "{{ macros.uuid.os.system('touch pwned') }}")
DAG = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.sdk import DAG
from housing.orchestration.scoring_tasks import FindFilesOperator, ScoreFileOperator
from housing.orchestration.notify_tasks import NotifyScoringOperator

root = str(Path(__file__).parent)
with DAG("tiny", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None):
    find = FindFilesOperator(task_id="find", root=root, alias="staging")
    score = ScoreFileOperator.partial(
        task_id="score", root=root, map_index_template="{{ task.file.split('/')[-1] }}"
    ).expand_kwargs(find.output)
    score >> NotifyScoringOperator(task_id="notify", channel="slack", root=root)
"""


@pytest.fixture(scope="module")
def workspace(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Version 1 is in staging; three files wait, and the first of them is torn."""
    params = under_model(make_params(), "many-price")
    made = Workspace(tmp_path_factory.mktemp("many"), mlflow_server, "many", params)
    made.make(houses())
    registry.promote(made.settings, params, registry.validate(made.settings, params))
    (made.root / INBOX).mkdir(parents=True)
    for name in NAMES:
        houses(30, seed=9).write_csv(made.root / INBOX / f"{name}.csv")
    with (made.root / INBOX / "april.csv").open("a") as torn:
        torn.write("1,2\n")
    (made.root / "dag.py").write_text(DAG)
    return made


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with playing_slack() as server:
        server.answers += [(200, {})]
        yield server


@pytest.fixture(scope="module")
def runs(workspace: Workspace, slack: Slack) -> list[dict[str, Any]]:
    variables = {
        "AIRFLOW__CORE__MAX_MAP_LENGTH": "2",
        "AIRFLOW_CONN_SLACK_DEFAULT": slack.connection,
        "HOUSING_RETRIES": "2",
    }
    return run_steps_beside(workspace, ("true", {}), ("true", {}), **variables)


@pytest.fixture(scope="module")
def run(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return runs[0]


def test_files_share_a_task_where_airflow_maps_no_further(
    run: dict[str, Any], workspace: Workspace
) -> None:
    files = [str(workspace.root / INBOX / f"{name}.csv") for name in NAMES]
    assert run["xcoms"]["find.return_value"] == [
        {"files": files[:2], "version": "1"},
        {"files": files[2:], "version": "1"},
    ]


def test_a_torn_file_keeps_back_no_other(run: dict[str, Any], workspace: Workspace) -> None:
    assert "april.csv" in run["xcoms"]["score.error"]
    outbox = workspace.root / OUTBOX
    priced = {path.name: pl.read_parquet(path).height for path in outbox.glob("*.parquet")}
    assert priced["june.csv.v1.parquet"] == priced[f"{NAMES[2]}.csv.v1.parquet"] == 30
    assert "april.csv.v1.parquet" not in priced


def test_a_torn_file_is_set_aside_and_told_once(
    runs: list[dict[str, Any]], workspace: Workspace, slack: Slack
) -> None:
    outbox = workspace.root / OUTBOX
    assert [path.name for path in outbox.glob("*.json")] == ["april.csv.refused.json"]
    reason = json.loads((outbox / "april.csv.refused.json").read_text())["reason"]
    (body,) = slack.bodies
    told = json.dumps(body)
    assert "april.csv was set aside" in told
    assert reason.splitlines()[0][-40:] in told
    assert runs[0]["states"]["notify"] == "success"
    assert {runs[1]["states"][task] for task in ("find", "score", "notify")} == {"skipped"}


def test_the_name_of_a_file_is_never_run(run: dict[str, Any], workspace: Workspace) -> None:
    assert run["xcoms"]["find.return_value"]
    assert not (workspace.root / "pwned").exists()
    with closing(sqlite3.connect(workspace.root / ".airflow" / "airflow.db")) as database:
        query = "select rendered_map_index from task_instance where task_id = 'score'"
        shown = {index for (index,) in database.execute(query)}
    assert f"{NAMES[2]}.csv" in shown


def test_a_file_that_cannot_be_priced_is_not_tried_again(run: dict[str, Any]) -> None:
    """Airflow ends a task in the state up_for_retry where it will."""
    assert set(run["mapped"]["score"]) == {"failed", "success"}


def test_a_task_is_called_by_its_files() -> None:
    def name(*files: str) -> str:
        return ScoreFileOperator(task_id="score", root="/", files=files, version="1").file

    assert name("/inbox/june.csv") == "/inbox/june.csv"
    assert name("/inbox/june.csv", "/inbox/may.csv") == "/inbox/june.csv and 1 more"

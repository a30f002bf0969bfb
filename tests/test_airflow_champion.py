"""A person sets the champion, files are priced by it, it is taken back: one real Airflow run."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from housing.mlops import registry
from housing.mlops.batch_scoring import INBOX, OUTBOX
from tests.airflow_project import run_beside
from tests.synthetic import Workspace, houses, make_params, under_model

DAG = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.sdk import DAG, task
from housing.engine.airflow.assets import alias_asset
from housing.orchestration.champion_tasks import (
    CompareOperator, RollbackOperator, SetChampionOperator
)
from housing.orchestration.scoring_tasks import FindFilesOperator, ScoreFileOperator

root = str(Path(__file__).parent)
champion = alias_asset("tiny", "person-price", "champion")

@task
def approve():
    return {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "ann"}}

with DAG("tiny", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None):
    compare = CompareOperator(task_id="compare", root=root)
    decide = SetChampionOperator(task_id="decide", root=root, compare="compare",
                                 approve="approve", outlets=[champion])
    find = FindFilesOperator(task_id="find", root=root, alias="champion")
    score = ScoreFileOperator.partial(task_id="score", root=root).expand_kwargs(find.output)
    back = RollbackOperator(task_id="back", root=root, alias="champion", reason="it was a test",
                            outlets=[champion])
    compare >> approve() >> decide >> find >> score >> back
"""


@pytest.fixture(scope="module")
def workspace(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Version 1 is the champion, version 2 the challenger; one file waits."""
    params = under_model(make_params(), "person-price")
    made = Workspace(tmp_path_factory.mktemp("person"), mlflow_server, "person", params)
    for table in (houses(1200), houses(1300)):
        made.make(table)
        verdict = registry.validate(made.settings, params)
        assert verdict.passed, verdict.reasons
        registry.promote(made.settings, params, verdict)
        if table.height == 1200:
            registry.set_champion(made.settings, params, "1", "me", "the first one")
    (made.root / INBOX).mkdir(parents=True)
    houses(30, seed=9).write_csv(made.root / INBOX / "june.csv")
    (made.root / "dag.py").write_text(DAG)
    return made


@pytest.fixture(scope="module")
def run(workspace: Workspace) -> dict[str, Any]:
    return run_beside(workspace)


def test_the_run_succeeds(run: dict[str, Any]) -> None:
    assert run["state"] == "success"
    assert set(run["states"].values()) == {"success"}


def test_the_person_sees_both_sides(run: dict[str, Any]) -> None:
    asked = run["xcoms"]["compare.return_value"]
    assert (asked["version"], asked["champion"]) == ("2", "1")
    assert asked["title"] == "Shall person-price version 2 be champion?"
    assert "| rmse | $" in asked["body"]
    assert "common_rows" in asked["body"]


def test_the_new_champion_prices_the_file(run: dict[str, Any], workspace: Workspace) -> None:
    (scores,) = run["xcoms"]["score.return_value"]
    assert scores["version"] == "2"
    prices = pl.read_parquet(workspace.root / OUTBOX / "june.csv.v2.parquet")
    assert prices.height == 30


def test_the_journal_says_who_and_why(run: dict[str, Any], workspace: Workspace) -> None:
    assert run["states"]["back"] == "success"
    moves = registry.read_journal(workspace.settings, workspace.params, "champion")
    assert [(m.kind, m.to_version, m.who, m.why) for m in moves[1:]] == [
        ("assign", "2", "ann", "approved in Airflow"),
        ("rollback", "1", "dag_test", "it was a test"),
    ]


def test_the_champion_emits_an_event(run: dict[str, Any]) -> None:
    assert run["events"] == {"x-mlflow://tiny/person-price/champion": {"version": "1"}}

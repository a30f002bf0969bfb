"""A person sets the champion, files are priced by it, it is taken back: one real Airflow run.

Airflow waits for an answer in a state that only its scheduler leaves, so here the question answers
itself, by what Airflow hands to it when a person did.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from housing.mlops import registry
from housing.mlops.batch_scoring import INBOX, OUTBOX
from housing.mlops.tracking.connection import connected
from tests.airflow_project import run_beside
from tests.synthetic import Workspace, houses, make_params, under_model

DAG = """
from datetime import UTC, datetime
from pathlib import Path
from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import TaskAwaitingInput
from housing.orchestration.approval import ApproveOperator, SetChampionOperator
from housing.orchestration.alias_assets import alias_asset
from housing.orchestration.scoring_tasks import FindFilesOperator, ScoreFileOperator
from housing.orchestration.champion_tasks import CompareOperator, RollbackOperator

root = str(Path(__file__).parent)
champion = alias_asset("tiny", "person-price", "champion")
ANN = {"id": "1", "name": "ann"}

class Answered(ApproveOperator):
    def execute(self, context):
        try:
            super().execute(context)
        except TaskAwaitingInput as waiting:
            return getattr(self, waiting.method_name)(context, {
                "chosen_options": ["Approve"], "params_input": {"why": "{{ 6 * 6 }} flats"},
                "responded_by_user": ANN,
                "responded_at": datetime.now(UTC)})

class AskedBefore(ApproveOperator):
    def execute(self, context):
        self.subject, self.body = "Shall version 1 be champion?", "the old question"
        self._require_shown(context)
        super().execute(context)

class SaysNo(ApproveOperator):
    def execute(self, context):
        try:
            super().execute(context)
        except TaskAwaitingInput as waiting:
            return getattr(self, waiting.method_name)(context, {
                "chosen_options": ["Reject"], "params_input": {"why": "not in May"},
                "responded_by_user": ANN, "responded_at": datetime.now(UTC)})

class NobodyAnswered(ApproveOperator):
    def execute(self, context):
        try:
            super().execute(context)
        except TaskAwaitingInput as waiting:
            event = {"error": "The response timeout has passed", "error_type": "timeout"}
            return getattr(self, waiting.method_name)(context, event)

@task
def answer(option, version, champion):
    return {"chosen_options": [option], "responded_by_user": ANN,
            "asked": {"version": version, "champion": champion}}

def decide(name, approve):
    return SetChampionOperator(task_id=name, root=root, approve=approve, outlets=[champion])

with DAG("tiny", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None,
         params={"alias": "champion", "reason": Param("{{ 7 * 7 }} barns", type="string")}):
    compare = CompareOperator(task_id="compare", root=root)
    rejected = answer.override(task_id="rejected")("Reject", version="2", champion="1")
    about_version_1 = answer.override(task_id="late")("Approve", version="1", champion="")
    approve = Answered(task_id="approve", root=root, compare="compare")
    find = FindFilesOperator(task_id="find", root=root, alias="champion")
    score = ScoreFileOperator.partial(task_id="score", root=root).expand_kwargs(find.output)
    back = RollbackOperator(task_id="back", root=root, outlets=[champion])
    end = AskedBefore(task_id="asked_before", root=root, compare="compare")
    compare >> rejected >> decide("after_rejection", "rejected")
    compare >> about_version_1 >> decide("after_late_answer", "late")
    compare >> approve >> decide("decide", "approve") >> find >> score >> back
    [rejected, about_version_1] >> approve
    compare >> end
    nobody = NobodyAnswered(task_id="nobody", root=root, compare="compare")
    compare >> nobody >> decide("unasked", "nobody")
    back >> SaysNo(task_id="no", root=root, compare="compare") >> decide("after_no", "no")
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
    # Training's parameters are in the middle of a merge: who serves can be decided all the same.
    before, after = (made.root / "params.yaml").read_text().split("\ntrain:\n")
    (made.root / "params.yaml").write_text(f"{before}\n<<<<<<< ours\ntrain:\n{after}")
    return made


@pytest.fixture(scope="module")
def run(workspace: Workspace) -> dict[str, Any]:
    return run_beside(workspace)


def test_only_an_approval_of_what_stands_now_moves_the_alias(run: dict[str, Any]) -> None:
    refused = {
        "after_rejection",
        "after_late_answer",
        "asked_before",
        "nobody",
        "unasked",
        "after_no",
    }
    states = run["states"]
    assert {states[task] for task in states if task not in refused} == {"success"}
    assert {states[task] for task in refused - {"asked_before"}} == {"skipped"}


def test_a_question_that_airflow_shows_in_old_words_is_not_put(run: dict[str, Any]) -> None:
    assert run["states"]["asked_before"] == "failed"
    error = run["xcoms"]["asked_before.error"]
    assert "still asks 'Shall version 1 be champion?'" in error
    assert "airflow dags trigger tiny" in error


def test_the_answer_names_what_the_person_saw(run: dict[str, Any]) -> None:
    assert run["xcoms"]["approve.return_value"]["asked"] == {"version": "2", "champion": "1"}


def test_the_person_sees_both_sides(run: dict[str, Any]) -> None:
    asked = run["xcoms"]["compare.return_value"]
    assert (asked["version"], asked["champion"]) == ("2", "1")
    assert asked["title"] == "Shall person-price version 2 be champion?"
    assert "| rmse | $" in asked["body"]
    assert "not compared on the same rows: params.yaml has faults" in asked["body"]


def test_the_question_tells_deadline_consequence_and_where_to_look(
    run: dict[str, Any], workspace: Workspace
) -> None:
    asked = run["xcoms"]["compare.return_value"]
    deadline = datetime.fromisoformat(asked["deadline"])
    assert timedelta(hours=71) < deadline - datetime.now(UTC) < timedelta(hours=72)
    assert f"answer until: {deadline:%Y-%m-%d %H:%M} UTC" in asked["body"]
    assert "Reject: version 1 stays champion" in asked["body"]
    assert f"(<{workspace.store}/#/models/person-price/versions/2>)" in asked["body"]
    assert "/plugin/housing>)" in asked["body"]


def test_approve_is_the_main_button_only_where_every_check_passed(run: dict[str, Any]) -> None:
    # Airflow's page draws the default as the main button, and both alike where there is none.
    assert run["xcoms"]["compare.return_value"]["passed"] is False  # not compared on the same rows
    assert run["asked"]["approve"] == ["Reject"]


def test_the_new_champion_prices_the_file(run: dict[str, Any], workspace: Workspace) -> None:
    (scores,) = run["xcoms"]["score.return_value"]
    assert scores["version"] == "2"
    prices = pl.read_parquet(workspace.root / OUTBOX / "june.csv.v2.parquet")
    assert prices.height == 30


def test_the_journal_says_who_and_why(run: dict[str, Any], workspace: Workspace) -> None:
    assert run["states"]["back"] == "success"
    moves = registry.read_journal(workspace.settings, workspace.params, "champion")
    assert [(m.kind, m.to_version, m.who, m.why) for m in moves[1:]] == [
        ("assign", "2", "ann", "{{ 6 * 6 }} flats"),
        ("rollback", "1", "dag_test", "{{ 7 * 7 }} barns"),  # what people type is no template
    ]


def test_a_no_is_kept_with_its_words(run: dict[str, Any], workspace: Workspace) -> None:
    assert run["states"]["after_no"] == "skipped"
    with connected(workspace.settings) as client:
        version = client.get_model_version(workspace.params.registry.model, "2")
    assert version.tags["housing.declined"] == "declined by ann: not in May"


def test_the_champion_emits_an_event(run: dict[str, Any]) -> None:
    assert run["events"] == {"x-mlflow://tiny/person-price/champion": {"version": "1"}}

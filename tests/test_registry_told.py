"""A rejection is told once for each result and reason, and again where a person asks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk import Context

from housing.domain.verdict import Check, Verdict
from housing.mlops.registry import told_before
from housing.mlops.tracking.connection import connected
from housing.orchestration import xcom_keys
from housing.orchestration.gate_tasks import ValidateModelOperator
from housing.settings import Settings
from tests.synthetic import Workspace


@pytest.fixture(scope="module")
def settings(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Workspace(tmp_path_factory.mktemp("told"), mlflow_server, "told").settings


@pytest.fixture
def rejection(settings: Settings) -> Verdict:
    with connected(settings) as client:
        run_id = client.create_run("0").info.run_id
    return rejected(run_id, "R2 is 0.5")


def rejected(run_id: str, why: str) -> Verdict:
    check = Check(name="r2_score", passed=False, value=0.5, limit=0.75, sentence=why)
    return Verdict(result="0123456789abcdef", run_id=run_id, passed=False, checks=(check,))


def test_a_rejection_is_told_once(settings: Settings, rejection: Verdict) -> None:
    assert told_before(settings, rejection, "monday") == ""
    assert told_before(settings, rejection, "monday") == "", "a second try may be the first to end"
    assert told_before(settings, rejection, "tuesday") == "monday"
    assert told_before(settings, rejection, "wednesday") == "monday"


def test_another_reason_is_told(settings: Settings, rejection: Verdict) -> None:
    told_before(settings, rejection, "monday")
    other = rejected(rejection.run_id, "version 3, the same model, was withdrawn")
    assert told_before(settings, other, "tuesday") == ""
    assert told_before(settings, other, "wednesday") == "tuesday"


def test_whoever_starts_a_run_by_hand_is_told_again(
    settings: Settings, rejection: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.store)
    validate = ValidateModelOperator(
        task_id="validate", root=str(settings.root), promote="promote", alert="alert"
    )

    def told_by(run_id: str, run_type: str) -> str | None:
        kept: dict[str, Any] = {}
        ti = SimpleNamespace(
            dag_id="dag", run_id=run_id, xcom_push=lambda key, value: kept.update({key: value})
        )
        context = {"ti": ti, "dag_run": SimpleNamespace(run_type=run_type)}
        validate._note_teller(cast("Context", context), rejection)
        return kept.get(xcom_keys.TOLD_BY)

    assert told_by("monday", "scheduled") is None
    assert told_by("tuesday", "asset_triggered") == "dag monday"
    assert told_by("today", "manual") is None

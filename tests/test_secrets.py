"""A password in an address is used, and shown nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from housing.cli import app
from housing.domain.verdict import Check, Verdict
from housing.engine.airflow.error_handling import ERROR_KEY, explained
from housing.engine.errors import RemoteError, fit_to_show
from housing.messages import Message, failure, promotion, rejection
from housing.mlops.registry import aliases
from housing.orchestration.run_summary import Summary
from housing.settings import Settings, load_settings
from tests.mlflow_server import free_port
from tests.synthetic import ROOT, make_params

PLANTED = "planted-secret"
ERROR = f"cannot push to https://ann:{PLANTED}@remote.example.com/data"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of an MLflow that does not answer, with a password in its address."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # what is set meanwhile is taken back
    uri = f"http://ann:{PLANTED}@127.0.0.1:{free_port()}/"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("HOUSING_ROOT", str(ROOT))
    return load_settings()


class Pushed:
    """A task instance that keeps what is pushed."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def xcom_push(self, key: str, value: object) -> None:
        self.values[key] = value


def pushed(body: Callable[[], object]) -> str:
    """The message that a task leaves in XCom when its body fails."""
    task = Pushed()
    context: Any = {"ti": task}
    with pytest.raises(Exception, match=r"."), explained(context):
        body()
    message: str = task.values[ERROR_KEY]
    return message


def everything(message: Message) -> str:
    return "\n".join([message.to_text(), json.dumps(message.to_slack()), message.to_html()])


def raw() -> None:
    raise RuntimeError(ERROR)  # of a library


def ours() -> None:
    raise RemoteError(ERROR, f"dvc pull --remote https://ann:{PLANTED}@remote.example.com")


def test_xcoms_summaries_and_messages_show_no_password(settings: Settings) -> None:
    unreached = pushed(lambda: aliases(settings, make_params()))
    errors = {"gate": unreached, "raw": pushed(raw), "push": pushed(ours)}
    assert "MLflow at http://127.0.0.1" in unreached
    assert "https://remote.example.com" in errors["push"]
    summary = Summary("dag", "run", "now", (), errors, None, None)
    check = Check(name="rival", passed=False, value=None, limit=None, sentence=unreached)
    verdict = Verdict(result="f" * 16, run_id="r", passed=False, checks=(check,))
    links = {"MLflow run": settings.run_address("r"), "page": f"https://ann:{PLANTED}@host/"}
    assert links["MLflow run"].endswith("/#/runs/r")
    texts = [
        json.dumps(summary.to_dict()),
        *summary.lines(),
        everything(failure("run", errors | {"stage": ERROR}, {"gate": ERROR}, links)),
        everything(rejection("m", verdict, links)),
        everything(promotion("m", "1", verdict, links)),
    ]
    assert [text for text in texts if PLANTED in text] == []


@pytest.mark.usefixtures("settings")
def test_the_doctor_shows_no_password() -> None:
    found = CliRunner().invoke(app, ["doctor", "--json"])
    (mlflow,) = [one for one in json.loads(found.output) if one["name"] == "MLflow"]
    assert "gives no answer" in mlflow["detail"]
    assert PLANTED not in found.output


def test_the_doctor_shows_a_database_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOUSING_ROOT", str(ROOT))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://ann:{PLANTED}@db/mlflow")
    found = CliRunner().invoke(app, ["doctor", "--json"])
    (mlflow,) = [one for one in json.loads(found.output) if one["name"] == "MLflow"]
    assert mlflow["detail"] == "postgresql://db/mlflow"
    assert load_settings(Path()).store.startswith(f"postgresql://ann:{PLANTED}@")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:s3cret@host:5000/x", "http://host:5000/x"),
        ("http://s3cret@host", "http://host"),
        ("mysql+pymysql://ann:p@ss@host/db", "mysql+pymysql://host/db"),
        ("at http://a:b@one, http://c:d@two", "at http://one, http://two"),
        (
            "postgresql://host/db?user=ann&password=x y",
            "postgresql://host/db?user=ann&password=*** y",
        ),
        ("http://host/file?a=1&X-Amz-Signature=ab", "http://host/file?a=1&X-Amz-Signature=***"),
        ("http://host/?mail=ann@example.com", "http://host/?mail=ann@example.com"),
        ("ann@example.com", "ann@example.com"),
    ],
)
def test_addresses_lose_their_logins(text: str, shown: str) -> None:
    assert fit_to_show(text) == shown
    assert fit_to_show(shown) == shown


@given(st.text())
def test_any_text_can_be_shown_and_stays_as_it_is_the_second_time(text: str) -> None:
    assert fit_to_show(fit_to_show(text)) == fit_to_show(text)

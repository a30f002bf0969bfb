from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from housing.domain.verdict import Check, Verdict
from housing.engine.errors import ExplainedError, typeable
from housing.messages import (
    LOG_LINES,
    Message,
    contest,
    failure,
    format_metric,
    promotion,
    rejection,
)

LINKS = {"Airflow run": "http://airflow/run", "MLflow run": ""}
R2 = Check(name="r2_score", passed=True, value=0.84, limit=0.75, sentence="R2 is 0.8400")
RMSE = Check(name="rmse", passed=False, value=51e3, limit=5e4, sentence="RMSE is $51,000")


def verdict(*checks: Check, **changes: object) -> Verdict:
    content = {
        "result": "0123456789abcdef",
        "run_id": "run7",
        "passed": all(check.passed for check in checks),
        "alias": "staging",
        "checks": checks,
        **changes,
    }
    return Verdict.model_validate(content)


def test_a_promotion_shows_version_metrics_verdict_and_links() -> None:
    gain = "RMSE falls by $615 on 3,976 common rows"
    passed = verdict(
        R2,
        Check(name="gain", passed=True, value=300, limit=0, sentence=gain),
        against="3",
        metrics={"rmse": 41_000.4, "r2_score": 0.84, "mape": 15.25},
        rival_metrics={"rmse": 42_000.0, "r2_score": 0.83, "mape": 15.0},
    )
    text = promotion("housing-price", "4", passed, LINKS).to_text()
    assert text.splitlines()[0] == "housing-price version 4 is now staging"
    assert "Metrics, each version on its own test rows:\nmetric    new      version 3\n" in text
    assert "rmse      $41,000  $42,000\n" in text
    assert "r2_score  0.8400   0.8300\n" in text
    assert "mape      15.25 %  15.00 %\n" in text
    assert "passed  r2_score  R2 is 0.8400" in text
    assert f"passed  gain      {gain}" in text
    assert "Airflow run: http://airflow/run" in text
    assert "MLflow run: run7" in text
    assert text.count("MLflow run") == 1, "an empty address is no link"


def test_the_first_promotion_has_nothing_to_compare_with() -> None:
    text = promotion("m", "1", verdict(R2, metrics={"rmse": 1.0}), LINKS).to_text()
    assert "rmse    $1   none" in text


def test_a_rejection_gives_the_reasons() -> None:
    message = rejection("m", verdict(R2, RMSE), LINKS)
    assert not message.good
    assert ("reasons", "RMSE is $51,000") in message.facts
    assert "FAILED  rmse      RMSE is $51,000" in message.to_text()


def test_a_failure_quotes_the_error_and_the_end_of_the_log() -> None:
    log = "\n".join(f"line {number}" for number in range(100))
    text = failure("dag, run", {"train": "exit code 3"}, {"train": log}, LINKS).to_text()
    assert text.startswith("train failed\nrun: dag, run\n")
    assert "exit code 3" in text
    assert "line 99" in text
    assert f"line {100 - LOG_LINES}" in text
    assert f"line {100 - LOG_LINES - 1}\n" not in text


def test_slack_escapes_its_control_characters_and_cannot_be_broken_out_of() -> None:
    message = Message("a <b> & c", good=True, quotes=(("log", "x ``` <!channel> y"),))
    body = json.dumps(message.to_slack(), ensure_ascii=False)
    assert "<!channel>" not in body
    assert "&lt;!channel&gt;" in body
    quote = message.to_slack()["blocks"][-1]["text"]["text"]
    assert quote.count("```") == 2


def test_html_escapes() -> None:
    html = Message("<script>", good=False, quotes=(("log", "<img>"),)).to_html()
    assert "<script>" not in html
    assert "<img>" not in html


def test_a_long_quote_keeps_its_end() -> None:
    message = failure("run", {"task": f"{'x' * 9000} the end"}, {}, {})
    assert message.to_slack()["blocks"][-1]["text"]["text"].endswith("the end```")


words = st.text(max_size=5000)


@given(
    title=st.text(min_size=1, max_size=5000),
    facts=st.lists(st.tuples(words, words), max_size=3),
    quotes=st.lists(st.tuples(st.text(max_size=40), words), max_size=60),
)
def test_slack_takes_any_message(
    title: str, facts: list[tuple[str, str]], quotes: list[tuple[str, str]]
) -> None:
    body = Message(title, True, tuple(facts), (), tuple(quotes), (("a", "http://b"),)).to_slack()
    blocks = body["blocks"]
    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= 150
    assert all(0 < len(block["text"]["text"]) <= 3000 for block in blocks[1:])
    assert blocks[-1]["text"]["text"] == "<http://b|a>"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("rmse", 41234.5, "$41,234"),
        ("mae", -12.0, "-$12"),
        ("mape", 15.256, "15.26 %"),
        ("r2_score", 0.83456, "0.8346"),
    ],
)
def test_metrics_have_their_units(name: str, value: float, text: str) -> None:
    assert format_metric(name, value) == text


def test_a_page_of_airflow_shows_names_and_reasons_as_they_are() -> None:
    hostile = "x | y <img src=//a.example>\n\n# [click](javascript:alert(1)) ![](//a.example/p)"
    fault = Check(name="not_withdrawn", passed=False, value=1, limit=0, sentence=hostile)
    page = contest("m", ("2", {}), ("1", {}), [fault], ["train.x=<b>1</b>"]).to_markdown()
    row = next(line for line in page.splitlines() if "withdrawn" in line)
    assert row == (
        r"| FAILED | not\_withdrawn | x \| y \<img src=//a.example\> "
        r"# \[click\](javascript:alert(1)) !\[\](//a.example/p) |"
    )
    assert r"- made with overrides: train.x=\<b\>1\</b\>" in page


@pytest.mark.parametrize(
    ("hint", "typed"),
    [
        ("housing run", "uv run housing run"),
        ("dvc checkout, then dvc repro", "uv run dvc checkout, then uv run dvc repro"),
        ("rm a && housing repro b; or: git init", "rm a && uv run housing repro b; or: git init"),
        ("`housing deliver` copies safely", "`uv run housing deliver` copies safely"),
        ("X=1 mlflow gc, uv run housing run", "X=1 uv run mlflow gc, uv run housing run"),
        (
            "uv run --env-file local.env housing doctor",
            "uv run --env-file local.env housing doctor",
        ),
        ("edit dvc.yaml; pip install 'housing[houses]'", None),
        ("look at data/housing prices", None),
    ],
)
def test_a_hint_can_be_typed_as_it_stands(
    hint: str, typed: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ExplainedError("a fact", hint).hint == hint
    uv = tmp_path / "uv"
    uv.touch(mode=0o755)
    monkeypatch.setenv("UV", str(uv))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ExplainedError("a fact", hint).hint == (typed or hint)
    assert typeable(typeable(hint)) == typeable(hint)
    monkeypatch.setenv("PATH", "")
    assert ExplainedError("a fact", "housing run").hint == f"{uv} run housing run"

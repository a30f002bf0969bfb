"""The gate leaves the dashboard's task out just where its page needs no more than a line."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from housing.dashboard import page_file
from housing.dashboard.runs import BEGIN, END, block, remove_oldest, summary_files
from housing.orchestration.gate_tasks import ValidateModelOperator
from housing.settings import RUNS

SKIPPED = {"stages.ingest": "skipped", "stages.train": "skipped", "validate": "running"}


def needless(root: Path, states: dict[str, str], dashboard: str = "page") -> list[str]:
    validate = ValidateModelOperator(
        task_id="validate", root=str(root), promote="promote", alert="alert", dashboard=dashboard
    )
    ti = SimpleNamespace(dag_id="dag", run_id="run")
    ti.get_task_states = lambda dag_id, run_ids: dict.fromkeys(run_ids, states)  # noqa: ARG005
    return validate._needless_dashboard(cast("Any", ti))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = page_file(tmp_path)
    page.parent.mkdir(parents=True)
    page.write_text(f"<html>{block([{'run': 'before', 'state': 'success'}])}</html>")
    return page


@pytest.mark.usefixtures("page")
def test_where_no_stage_ran_the_page_needs_a_line(tmp_path: Path) -> None:
    assert needless(tmp_path, SKIPPED) == ["page"]
    assert needless(tmp_path, SKIPPED, dashboard="") == []


@pytest.mark.parametrize("state", ["success", "failed", "upstream_failed"])
@pytest.mark.usefixtures("page")
def test_where_a_stage_ran_to_the_same_result_the_page_is_made_anew(
    tmp_path: Path, state: str
) -> None:
    assert needless(tmp_path, SKIPPED | {"stages.train": state}) == []


@pytest.mark.parametrize("content", [b"[{", b"[{}]", b'{"a": 1}', b"[1]", b"[]", b"\xff"])
def test_a_damaged_page_is_made_anew(tmp_path: Path, page: Path, content: bytes) -> None:
    page.write_bytes(f"{BEGIN}x{END}".encode().replace(b"x", content))
    assert needless(tmp_path, SKIPPED) == []


@pytest.mark.usefixtures("page")
def test_a_page_that_lacks_the_run_before_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / RUNS).mkdir(parents=True)
    for number, run in enumerate(("before", "run")):  # this run may have been cleared
        (tmp_path / RUNS / f"{run}.json").write_text('{"state": "success"}')
        os.utime(tmp_path / RUNS / f"{run}.json", (number, number))
    assert needless(tmp_path, SKIPPED) == ["page"]
    (tmp_path / RUNS / "before.json").write_text('{"state": "failed"}')  # cleared, done again
    assert needless(tmp_path, SKIPPED) == []
    (tmp_path / RUNS / "unseen.json").write_text('{"state": "success"}')
    assert needless(tmp_path, SKIPPED) == []


def test_after_a_failed_run_and_without_a_page_it_is_made_anew(tmp_path: Path, page: Path) -> None:
    page.write_text(f"<html>{block([{'run': 'before', 'state': 'failed'}])}</html>")
    assert needless(tmp_path, SKIPPED) == []
    page.unlink()
    assert needless(tmp_path, SKIPPED) == []


def test_the_newest_summaries_stay(tmp_path: Path) -> None:
    (tmp_path / RUNS).mkdir(parents=True)
    for end in range(1003):
        file = tmp_path / RUNS / f"{-end}.json"  # the order of the names is none of the ends
        file.touch()
        os.utime(file, (end, end))
    (tmp_path / RUNS / "stays.json").mkdir()
    os.utime(tmp_path / RUNS / "stays.json", (0, 0))
    remove_oldest(tmp_path)
    left = [file.stem for file in summary_files(tmp_path)]
    assert left == ["stays", *(str(-end) for end in range(3, 1003))]


def test_a_summary_of_now_stays_although_the_clock_was_set_back(tmp_path: Path) -> None:
    (tmp_path / RUNS).mkdir(parents=True)
    for number in range(1000):
        file = tmp_path / RUNS / f"{number}.json"
        file.touch()
        os.utime(file, (time.time() + 600, time.time() + 600))
    (tmp_path / RUNS / "now.json").touch()
    remove_oldest(tmp_path)
    assert (tmp_path / RUNS / "now.json").exists()

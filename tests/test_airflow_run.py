"""Stage tasks in real Airflow runs on a real DVC repository."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.airflow_project import Project

STAGES = {
    "head": {"cmd": "cat seed > head.txt", "deps": ["seed"], "outs": ["head.txt"]},
    "copy": {
        "foreach": ["x", "y"],
        "do": {
            "cmd": "grep -v comment head.txt > ${item}.txt",
            "deps": ["head.txt"],
            "outs": ["${item}.txt"],
        },
    },
    "tail": {
        "cmd": "cat x.txt y.txt > tail.txt",
        "deps": ["x.txt", "y.txt"],
        "outs": ["tail.txt"],
    },
    "other": {"cmd": "echo other > other.txt", "outs": ["other.txt"]},
    "join": {
        "cmd": "cat tail.txt other.txt > join.txt",
        "deps": ["tail.txt", "other.txt"],
        "outs": ["join.txt"],
    },
}
# Everything that a run would write, but for what DVC and the engine keep for the moment.
WRITTEN = "find . -type f -not -path './.dvc/tmp/*' -not -path './.airflow/*' -printf '%p %T@ %s;'"
TASKS = ("head", "copy.x", "copy.y", "tail", "other", "join")
SKIPPED = dict.fromkeys(TASKS, "skipped")
ENDED = {"alert": "skipped", "summary": "success"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.make(tmp_path_factory.mktemp("tiny") / "p", STAGES, seed="1\n")


@pytest.fixture(scope="module")
def runs(project: Project) -> dict[str, dict[str, Any]]:
    steps: dict[str, tuple[str, dict[str, Any] | None]] = {
        "cold": ("true", {}),
        "unchanged": ("touch seed", {}),
        "an out is missing": ("rm x.txt", {}),
        "planned": (f"echo 2 > seed && {WRITTEN} > ../before", {"dvc_plan": True}),
        "not planned": (
            f"{WRITTEN} > ../after",
            {"dvc_plan": True, "dvc_overrides": ["seed=x"]},
        ),
        "same content": ("printf '1\\ncomment\\n' > seed", {}),
        "restored": ("echo 1 > seed", {}),
        "forced": ("true", {"dvc_force": "copy"}),
        "only": ("echo 2 > seed", {"dvc_stage": "head", "dvc_scope": "only"}),
        "downstream": ("true", {"dvc_stage": "copy@x", "dvc_scope": "downstream"}),
        "failed": ("echo comment > seed", {}),
        "cleared": ("cp -r .housing/runs ../failed && echo 3 > seed", None),
        "broken": ("echo oops: [ >> dvc.yaml", {}),
    }
    return dict(zip(steps, project.run(*steps.values()), strict=True))


def stage_states(result: dict[str, Any]) -> dict[str, str]:
    return {
        name.removesuffix(".return_value"): value["state"]
        for name, value in result["xcoms"].items()
        if name.endswith(".return_value") and "state" in value and "stage" in value
    }


def test_a_cold_run_runs_every_stage(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["cold"]["state"] == "success"
    assert runs["cold"]["states"] == dict.fromkeys(SKIPPED, "success") | ENDED
    assert set(stage_states(runs["cold"]).values()) == {"ran"}


def test_unchanged_stages_are_skipped_with_their_record(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["unchanged"]["state"] == "success"
    assert runs["unchanged"]["states"] == SKIPPED | ENDED
    assert stage_states(runs["unchanged"]) == dict.fromkeys(SKIPPED, "unchanged")
    assert runs["unchanged"]["events"] == {}


def test_unchanged_stages_end_with_the_one_before_them(runs: dict[str, dict[str, Any]]) -> None:
    # The last one reads from both: the one that ends last ends it.
    assert runs["unchanged"]["started"] == ["alert", "head", "other", "summary"]


def test_only_unchanged_stages_end_with_the_one_before_them(
    runs: dict[str, dict[str, Any]],
) -> None:
    run = runs["an out is missing"]
    assert run["states"] == SKIPPED | ENDED | {"copy.x": "success"}
    assert run["started"] == ["alert", "copy.x", "head", "other", "summary", "tail"]
    assert stage_states(run) == dict.fromkeys(TASKS, "unchanged") | {"copy.x": "restored"}


def test_a_plan_tells_what_each_stage_would_do_and_nothing_acts(
    project: Project, runs: dict[str, dict[str, Any]]
) -> None:
    planned = runs["planned"]
    assert planned["state"] == "success"
    assert planned["states"] == dict.fromkeys(SKIPPED, "success") | dict.fromkeys(ENDED, "skipped")
    told = {name: planned["xcoms"][f"{name}.return_value"] for name in SKIPPED}
    assert {name: one["action"] for name, one in told.items()} == {
        "head": "run",
        "copy.x": "may run",
        "copy.y": "may run",
        "tail": "may run",
        "other": "stay",
        "join": "may run",
    }
    assert told["tail"]["told"] == "may run, if copy@x or copy@y makes something else than now"
    assert told["tail"]["at_most"] > told["head"]["at_least"] > 0
    assert planned["events"] == {}
    before, after = ((project.root.parent / name).read_text() for name in ("before", "after"))
    assert [one for one in before.split(";") if ".log" not in one] == [
        one for one in after.split(";") if ".log" not in one
    ]
    assert "head: would run" in project.log.read_text()


def test_a_plan_that_cannot_be_made_fails_and_alerts_nobody(
    runs: dict[str, dict[str, Any]],
) -> None:
    failed = runs["not planned"]
    assert failed["state"] == "failed"
    assert failed["states"] == {
        **dict.fromkeys(("head", "other"), "failed"),
        **dict.fromkeys(("copy.x", "copy.y", "tail", "join"), "upstream_failed"),
        "alert": "skipped",
        "summary": "failed",
    }


def test_a_stage_runs_for_a_reason(runs: dict[str, dict[str, Any]]) -> None:
    (reason,) = runs["same content"]["xcoms"]["head.return_value"]["reasons"]
    assert (reason["kind"], reason["name"]) == ("dep", "seed")
    assert reason["before"] != reason["after"]


def test_an_event_tells_hash_and_size_of_changed_outs_only(
    runs: dict[str, dict[str, Any]],
) -> None:
    assert set(runs["cold"]["events"]) == {
        f"x-dvc://tiny/{name}.txt" for name in ("head", "x", "y", "tail", "other", "join")
    }
    (out,) = runs["same content"]["xcoms"]["head.return_value"]["outs"]
    # The copies leave the comment out: they ran, and came out the same.
    assert runs["same content"]["states"]["copy.x"] == "success"
    assert runs["same content"]["events"] == {
        "x-dvc://tiny/head.txt": {"md5": out["md5"], "size": out["size"]}
    }


def test_a_cached_stage_is_restored(runs: dict[str, dict[str, Any]]) -> None:
    assert stage_states(runs["restored"])["head"] == "restored"
    assert runs["restored"]["states"]["head"] == "success"


def test_force_runs_the_named_stages_only(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["forced"]["states"] == (
        SKIPPED | ENDED | {"copy.x": "success", "copy.y": "success"}
    )
    assert runs["forced"]["events"] == {}


def test_a_selection_leaves_the_rest_out(project: Project, runs: dict[str, dict[str, Any]]) -> None:
    assert stage_states(runs["only"]) == {"head": "ran"}
    assert project.summary(runs["only"])["counts"] == {"ran": 1, "left out": 5}
    assert set(stage_states(runs["downstream"])) == {"copy.x", "tail", "join"}


def test_a_failure_reaches_the_alert_and_fails_the_run(
    project: Project, runs: dict[str, dict[str, Any]]
) -> None:
    failed = runs["failed"]
    assert failed["state"] == "failed"
    assert failed["states"] == {
        "head": "success",
        "copy.x": "failed",
        "copy.y": "failed",
        "tail": "upstream_failed",
        "other": "skipped",
        "join": "upstream_failed",
        "alert": "success",
        "summary": "failed",
    }
    file = project.root.parent / "failed" / f"{failed['run_id']}.json"
    summary = json.loads(file.read_text())
    assert summary["state"] == "failed"
    assert summary["failures"]["copy.x"] == failed["xcoms"]["copy.x.error"]
    assert "copy@x" in summary["failures"]["copy.x"]
    log = project.log.read_text()
    assert "task copy.x failed: " in log


def test_a_failed_run_that_is_cleared_and_succeeds_is_told_as_a_success(
    project: Project, runs: dict[str, dict[str, Any]]
) -> None:
    cleared = runs["cleared"]
    assert cleared["run_id"] == runs["failed"]["run_id"]
    assert (cleared["state"], cleared["states"]["summary"]) == ("success", "success")
    summary = project.summary(cleared)  # the dashboard shows what stands there
    assert (summary["state"], summary["failures"], summary["words"]) == ("success", {}, {})
    assert summary["counts"] == {"ran": 5, "unchanged": 1}


def test_the_summary_counts_what_the_cache_did(
    project: Project, runs: dict[str, dict[str, Any]]
) -> None:
    summary = project.summary(runs["unchanged"])
    assert summary["counts"] == {"unchanged": 6}
    names = [line["stage"] for line in summary["stages"]]
    assert names == ["head", "copy@x", "copy@y", "tail", "other", "join"]
    assert summary == runs["unchanged"]["xcoms"]["summary.return_value"]


def test_a_broken_dvc_yaml_is_an_import_error(runs: dict[str, dict[str, Any]]) -> None:
    (message,) = runs["broken"]["import_errors"]
    assert "GraphError" in message
    assert "dvc.yaml" in message

"""Repositories of other teams, stage by stage: ``make foreign-test`` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from housing.engine import graph
from housing.engine.errors import StageFailedError
from housing.engine.execution import plan, stage_run
from tests.foreign_repositories import AFTER, FAILED, RAN, REPOSITORIES, Repository


def run(root: Path) -> dict[str, str]:
    """Runs all stages as a run of the DAG does, one after the other."""
    found: dict[str, str] = {}
    for stage in graph.load(root).stages:
        if {found[name] for name in stage.upstream} & {FAILED, AFTER}:
            found[stage.name] = AFTER
            continue
        try:
            found[stage.name] = stage_run.reproduce(root, stage.name).state
        except StageFailedError:
            found[stage.name] = FAILED
    return found


def made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Repository]:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
    REPOSITORIES[name].make(folder / name)
    return folder / name, REPOSITORIES[name]


@pytest.mark.parametrize("name", ["text", "mono"])
def test_stages_run_where_something_changed_and_nowhere_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, repository = made(name, tmp_path, monkeypatch)
    assert run(root) == repository.states["cold"]
    repository.broken(root)
    assert run(root) == repository.states["failing"]
    repository.changed(root)
    planned = {one.stage: one.action for one in plan.make(root).stages}
    states = run(root)
    runs = {stage for stage, state in states.items() if state == RAN}
    assert runs == {stage for stage, state in repository.states["changed"].items() if state == RAN}
    assert runs <= {stage for stage, action in planned.items() if action in {"run", "may run"}}


def test_a_matrix_over_a_foreach_is_planned_stage_by_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, repository = made("sweep", tmp_path, monkeypatch)
    planned = {one.stage: one.action for one in plan.make(root).stages}
    assert planned == dict.fromkeys(repository.states["cold"], "run")

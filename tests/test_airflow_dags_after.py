"""The DAGs that follow the gate: what they wait for, and what they import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_project import Project
from tests.test_airflow_dag import HEAVY

ROOT = Path(__file__).parent.parent
RENDERED = """
import json, runpy, sys
found = {}
for name in ("batch_scoring", "champion", "rollback"):
    dag = runpy.run_path(f"{sys.argv[1]}/housing_{name}.py")["dag"]
    condition = getattr(dag.timetable, "asset_condition", None)
    assets = getattr(condition, "objects", [condition]) if condition else []
    found[name] = {
        "tasks": {t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks},
        "docs": [dag.doc_md, *(t.doc_md for t in dag.tasks)],
        "starts": {a.name: [w.name for w in a.watchers] for a in assets},
        "outlets": {t.task_id: [a.name for a in getattr(t, "outlets", [])] for t in dag.tasks},
    }
found["heavy"] = [name for name in sys.argv[2:] if name in sys.modules]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAGs while the parameters of training are broken: who serves can still be changed."""
    root = tmp_path_factory.mktemp("after")
    text = (ROOT / "tests/params.yaml").read_text().replace("seed: 7", "seed: seven")
    text = text.replace("  linear:\n", "<<<<<<< ours\n  linear:\n")  # a merge that is not done
    (root / "params.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", RENDERED, str(ROOT / "dags"), *HEAVY],
        env=Project(root).env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_scoring_follows_the_champion_and_new_files(rendered: dict[str, Any]) -> None:
    assert rendered["batch_scoring"]["starts"] == {
        "housing/housing-price@champion": [],
        "housing/data/scoring": ["housing/data/scoring"],
    }
    messages = ["notify_mail", "notify_slack"]
    assert rendered["batch_scoring"]["tasks"] == {
        "find_files": [],
        "score_file": ["find_files"],
        **{task_id: ["score_file"] for task_id in messages},
        "update_dashboard": ["score_file"],
        "done": ["find_files", *messages, "score_file", "update_dashboard"],
    }


def test_a_person_is_asked_when_staging_changes(rendered: dict[str, Any]) -> None:
    champion = rendered["champion"]
    assert list(champion["starts"]) == ["housing/housing-price@staging"]
    assert champion["tasks"] == {
        "compare": [],
        "approve": ["compare"],
        "set_champion": ["approve"],
        "update_dashboard": ["set_champion"],
    }


def test_the_dashboard_follows_every_move(rendered: dict[str, Any]) -> None:
    assert rendered["rollback"]["tasks"]["update_dashboard"] == ["roll_back"]


def test_a_new_champion_is_an_event(rendered: dict[str, Any]) -> None:
    event = ["housing/housing-price@champion"]
    assert rendered["champion"]["outlets"]["set_champion"] == event
    assert rendered["rollback"]["outlets"]["roll_back"] == event


def test_every_dag_and_task_says_what_it_is_for(rendered: dict[str, Any]) -> None:
    for name in ("batch_scoring", "champion", "rollback"):
        assert all(rendered[name]["docs"])


def test_nothing_heavy_is_imported_to_parse_them(rendered: dict[str, Any]) -> None:
    assert rendered["heavy"] == []

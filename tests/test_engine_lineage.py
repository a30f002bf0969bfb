"""What OpenLineage is told of stages, by Airflow's own provider."""

from __future__ import annotations

import subprocess
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from housing.engine import DvcDag, graph
from housing.engine.airflow.lineage import Naming, before
from housing.engine.airflow.operator import DvcStageOperator
from housing.engine.airflow.run_options import RunOptions
from housing.engine.airflow.workspace import Workspace
from tests.repository import make_repository

WEB = "git@git.example:team/churn.git"
NAMESPACE = "dvc://git.example/team/churn"


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository in a folder of a git repository that has a remote on the web."""
    root = tmp_path_factory.mktemp("git")
    git(root, "init", "--quiet")
    git(root, "remote", "add", "origin", WEB)
    git(root, "commit", "--quiet", "--allow-empty", "--message", "x")
    return root


@pytest.mark.parametrize(
    ("path", "repo", "namespace", "name"),
    [
        ("data/raw.csv", "", NAMESPACE, "etl/data/raw.csv"),
        ("sub/../raw.csv", "", NAMESPACE, "etl/raw.csv"),
        ("s3://bucket/a/raw.csv", "", "s3://bucket", "a/raw.csv"),
        ("gs://bucket/raw.csv", "", "gs://bucket", "raw.csv"),
        ("https://ann:secret@host.example/raw.csv", "", "https://host.example", "/raw.csv"),
        ("/mnt/raw.csv", "", "file", "/mnt/raw.csv"),
        (
            "raw.csv",
            "https://git.example/team/registry",
            "dvc://git.example/team/registry",
            "raw.csv",
        ),
        ("raw.csv", "/srv/registry", "/srv/registry", "raw.csv"),
    ],
)
def test_data_is_named_alike_by_everybody_who_reads_or_writes_it(
    place: Path, path: str, repo: str, namespace: str, name: str
) -> None:
    assert Naming(place / "etl").of(path, repo) == (namespace, name)


def test_without_a_remote_on_the_web_data_is_named_by_its_place(tmp_path: Path) -> None:
    assert Naming(tmp_path).of("raw.csv") == ("file", str(tmp_path / "raw.csv"))
    assert Naming(tmp_path / "a").of("../raw.csv") == ("file", str(tmp_path / "raw.csv"))


def test_a_failed_stage_tells_what_it_was_to_read_and_made_nothing(tmp_path: Path) -> None:
    make_repository(tmp_path, git=False)
    (tmp_path / "dvc.yaml").write_text("stages: {s: {cmd: 'false', deps: [raw], outs: [made]}}")
    dag = DvcDag("d", root=tmp_path, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
    failed = dag.stages["s"].get_openlineage_facets_on_failure(None)
    assert [d.name for d in failed.inputs] == [str(tmp_path / "raw")]
    assert failed.outputs == []


def test_source_code_is_no_data(tmp_path: Path) -> None:
    make_repository(tmp_path, git=False)
    stages = {"s": {"cmd": "true", "deps": ["a.py", "lib/b.R", "raw.csv", "folder"]}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    told = before(tmp_path, graph.load(tmp_path)["s"])
    assert {Path(d.name).name for d in told.inputs} == {"raw.csv", "folder"}


def test_what_a_run_with_overrides_makes_is_not_the_projects_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(tmp_path, git=False)
    (tmp_path / "raw").write_text("x")
    stages = {"s": {"cmd": "cp raw made", "deps": ["raw"], "outs": ["made"]}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    # The copy that such a run works in costs seconds to make, and is no matter here.
    monkeypatch.setattr(Workspace, "root", tmp_path)
    monkeypatch.setattr(Workspace, "_made", nullcontext)
    told = {}
    for overrides in ((), ("lr=1",)):
        task = DvcStageOperator(task_id="s", stage="s", root=str(tmp_path))
        run = SimpleNamespace(dag_id="d", run_id="r", task_id="s")
        task._reproduce(RunOptions(overrides=overrides), run)
        done = task.get_openlineage_facets_on_complete(run)
        assert done is not None
        told[overrides] = ([d.facets["version"] for d in done.inputs], len(done.outputs))
    assert told[()] == (told["lr=1",][0], 1)
    assert told["lr=1",] == (told[()][0], 0)

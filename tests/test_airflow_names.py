from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from housing.engine.airflow.assets import asset_of, path_of
from housing.engine.airflow.links import stage_address, web_address
from housing.engine.airflow.task_ids import LIMIT, task_id_of
from housing.engine.errors import GraphError
from housing.settings import load_settings

# What Airflow itself demands of a task id: airflow.sdk.definitions._internal.node.KEY_REGEX.
ALLOWED = re.compile(r"^[\w.-]+$")
names = st.text(min_size=1, max_size=20)
TOKEN = re.compile(r"\.\.([0-9a-f]+)\.|\.")
tricky = st.text(alphabet="@./:af0_-", min_size=1, max_size=12)


def stage_of(task_id: str) -> str:
    """The inverse of ``task_id_of``: that there is one proves that no two stages share an id."""
    return TOKEN.sub(lambda token: chr(int(token[1], 16)) if token[1] else "@", task_id)


@pytest.mark.parametrize(
    ("stage", "task_id"),
    [
        ("ingest_data", "ingest_data"),
        ("train_model@xgboost", "train_model.xgboost"),
        ("train@0.1-a", "train.0..2e.1-a"),
        ("sub/dvc.yaml:s1", "sub..2f.dvc..2e.yaml..3a.s1"),
    ],
)
def test_a_task_id_reads_like_the_stage(stage: str, task_id: str) -> None:
    assert task_id_of(stage) == task_id
    assert stage_of(task_id) == stage


@given(st.one_of(names, tricky))
def test_every_name_has_an_id_that_airflow_takes_and_leads_back(stage: str) -> None:
    assert ALLOWED.match(task_id_of(stage))
    assert stage_of(task_id_of(stage)) == stage


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(GraphError, match="251 characters"):
        task_id_of("a" * (LIMIT + 1))


@given(st.text(alphabet="ab /#?%é.", min_size=1, max_size=12))
def test_an_asset_leads_back_to_its_out(path: str) -> None:
    asset = asset_of("housing", path)
    assert path_of(asset) == path
    assert asset.uri.startswith("x-dvc://housing/")
    assert not re.search(r"[ #?é]", asset.uri)


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@example.com:team/houses.git", "https://example.com/team/houses"),
        ("ssh://git@example.com:22/team/houses.git", "https://example.com/team/houses"),
        ("https://user:secret@example.com/team/houses.git", "https://example.com/team/houses"),
        ("https://example.com/team/houses/", "https://example.com/team/houses"),
        ("/srv/git/houses.git", None),
        ("../houses", None),
        ("", None),
    ],
)
def test_a_git_remote_has_a_web_address(remote: str, address: str | None) -> None:
    assert web_address(remote) == address


@pytest.mark.parametrize(
    ("store", "run_id", "address"),
    [
        ("http://127.0.0.1:5000/", "abc", "http://127.0.0.1:5000/#/runs/abc"),
        ("sqlite:////tmp/mlflow.db", "abc", ""),
        ("http://127.0.0.1:5000", "", ""),
    ],
)
def test_a_run_has_an_address_where_a_server_shows_it(
    store: str, run_id: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert load_settings().run_address(run_id) == address


def test_a_stage_has_an_address_at_the_revision_that_ran(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=x", "-c", "user.email=x", *arguments]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert stage_address(tmp_path, "dvc.yaml") == ""
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "x")
    assert stage_address(tmp_path, "dvc.yaml") == ""
    git("remote", "add", "origin", "git@git.example:team/houses.git")
    inner = tmp_path / "inner"
    inner.mkdir()
    address = f"https://git.example/team/houses/blob/{git('rev-parse', 'HEAD')}"
    assert stage_address(tmp_path, "dvc.yaml") == f"{address}/dvc.yaml"
    assert stage_address(inner, "dvc.yaml") == f"{address}/inner/dvc.yaml"


def test_a_stage_of_airflows_git_bundle_links_to_the_commit_that_it_laid_out(
    tmp_path: Path,
) -> None:
    bare, version = tmp_path / "bare", tmp_path / "versions" / "4d1c0de"
    subprocess.run(["git", "init", "--quiet", "--bare", bare], check=True)
    assert stage_address(version / "etl", "dvc.yaml") == ""
    remote = ["git", "-C", str(bare), "remote", "add", "origin"]
    subprocess.run([*remote, "https://ann:secret@git.example/team/houses.git"], check=True)
    address = "https://git.example/team/houses/blob/4d1c0de/etl/dvc.yaml"
    assert stage_address(version / "etl", "dvc.yaml") == address

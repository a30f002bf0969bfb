from __future__ import annotations

import copy
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelStatus, Run

from housing.domain.config import parse_params
from housing.errors import EvidenceError, TrackingError, TrackingUnavailableError
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.digest import BUNDLE, require
from housing.mlops.tracking.result import (
    broken_links,
    data_time,
    file_md5,
    git_revision,
    read_result,
)
from housing.mlops.tracking.run_content import parameters, seconds_name
from housing.mlops.tracking.tracked_run import COMPLETE, DATA_TIME, HASH, MODEL_ID, RESULT, track
from housing.settings import load_settings
from tests.mlflow_server import free_port
from tests.synthetic import OUTS, ROOT, Workspace, houses


@pytest.fixture(scope="module", params=["mlflow_file", "mlflow_server"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tracked result, in a store and on a server."""
    workspace = Workspace(
        tmp_path_factory.mktemp("tracked"), request.getfixturevalue(request.param), "tracked"
    )
    workspace.make(houses())
    if request.param == "mlflow_file":
        link_outs(workspace, tmp_path_factory.mktemp("cache"))
    track(workspace.settings, workspace.params)
    return workspace


def link_outs(workspace: Workspace, cache: Path) -> None:
    """Puts links in the place of outs, as DVC does with ``cache.type symlink``."""
    for path in (path for outs in OUTS.values() for path in outs):
        out, kept = workspace.root / path, cache / path.replace("/", "-")
        shutil.move(out, kept)
        out.symlink_to(kept)


@contextmanager
def relocked(workspace: Workspace) -> Iterator[dict[str, Any]]:
    """The stages of ``dvc.lock``, to be changed."""
    path = workspace.root / "dvc.lock"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    yield content["stages"]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def client_of(workspace: Workspace) -> MlflowClient:
    with connected(workspace.settings) as client:
        return client


def runs(workspace: Workspace) -> list[Run]:
    client = client_of(workspace)
    experiment = client.get_experiment_by_name(workspace.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_a_run_holds_the_whole_result(done: Workspace) -> None:
    (run,) = runs(done)
    report = json.loads((done.root / "reports/evaluation_report.json").read_text())
    result = read_result(done.root)
    assert run.data.tags[RESULT] == result.fingerprint
    assert run.info.status == "FINISHED"
    for path, md5 in result.hashes.items():
        assert run.data.tags[f"{HASH}{path}"] == md5 == file_md5(done.root / path)
    assert run.data.metrics["test_rmse"] == report["metrics"]["rmse"]
    assert run.data.metrics["test_mape_low"] == report["intervals"]["mape"]["low"]
    assert run.data.metrics["validation_r2_score"] == report["candidates"]["xgboost"]["r2_score"]
    assert run.data.params["train.xgboost.booster"] == "gbtree"
    assert run.data.params["data.identity"] == '["north", "east"]'
    assert not any(name.startswith(("gate", "registry")) for name in run.data.params)


def test_mlflows_pages_tell_of_the_data_and_of_the_result(done: Workspace) -> None:
    (run,) = runs(done)
    assert run.inputs is not None
    inputs = {one.dataset.name: one for one in run.inputs.dataset_inputs}
    table = inputs["data/interim/houses.parquet"]
    assert table.dataset.digest == read_result(done.root).hashes[table.dataset.name]
    assert '"name": "north", "type": "double"' in str(table.dataset.schema)
    assert [(tag.key, tag.value) for tag in table.tags] == [("mlflow.data.context", "training")]
    note = run.data.tags["mlflow.note.content"]
    assert f"RMSE ${run.data.metrics['test_rmse']:,.0f}" in note
    assert f"Data ingested {run.data.tags['housing.data_ingested']}" in note
    # Without this, MLflow's UI opens an experiment on its pages for prompts.
    experiment = client_of(done).get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_column_may_have_any_name(done: Workspace) -> None:
    content = done.params.model_dump(mode="json")
    content["data"]["columns"]["income ($, 100 %)"] = content["data"]["columns"].pop("income")
    named = parameters(parse_params(content))
    client = client_of(done)
    run = client.create_run(client.create_experiment(f"names {done.store}"))
    for key, value in named.items():
        client.log_param(run.info.run_id, key, value)
    client.log_metric(run.info.run_id, seconds_name("sub/dvc.yaml:train@q1+q2/%"), 1.5)
    logged = client.get_run(run.info.run_id).data
    assert logged.params["data.columns.income ___ 100 __.type"] == "float"
    assert logged.metrics == {"seconds_sub_dvc.yaml.train.q1_q2__": 1.5}


def test_learning_curves_have_steps(done: Workspace) -> None:
    (run,) = runs(done)
    history = client_of(done).get_metric_history(run.info.run_id, "xgboost_validation_rmse")
    curve = json.loads((done.root / "reports/training/xgboost.json").read_text())["curve"]
    logged = sorted((point.step, point.value) for point in history)
    assert logged == [(step["iteration"], step["validation_rmse"]) for step in curve]


def test_reports_and_rows_are_artifacts(done: Workspace, tmp_path: Path) -> None:
    (run,) = runs(done)
    folder = Path(download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path)))
    for path in ("reports/predictions.parquet", "reports/evaluation_report.json", "dvc.lock"):
        assert (folder / path).read_bytes() == (done.root / path).read_bytes()
    test = pl.read_parquet(folder / "rows/test.parquet")
    assert test["_row"].equals(pl.read_parquet(folder / "reports/predictions.parquet")["_row"])
    seen = set(pl.read_parquet(folder / "rows/seen.parquet")["_row"])
    assert seen
    assert not seen & set(test["_row"])


def test_the_model_has_signature_and_example_and_no_pickle(done: Workspace, tmp_path: Path) -> None:
    (run,) = runs(done)
    model = client_of(done).get_logged_model(run.data.tags[MODEL_ID])
    assert model.status == LoggedModelStatus.READY
    assert run.outputs is not None
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    uri = f"models:/{model.model_id}"
    bundle = Path(download_artifacts(artifact_uri=uri, dst_path=str(tmp_path)))
    names = {path.name for path in bundle.rglob("*")}
    assert {
        "xgboost.ubj",
        "transform.json",
        "evaluation_report.json",
        "input_example.json",
    } <= names
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))}
    assert str(done.root) not in (bundle / "artifacts/transform.json").read_text()
    (bundle / "registered_model_meta").unlink()  # MLflow's client has just put it there
    assert run.data.tags[BUNDLE] == model.tags[BUNDLE]
    require(bundle, run.data.tags[BUNDLE], "it")


def test_tracking_again_finds_the_run(done: Workspace) -> None:
    (run,) = runs(done)
    assert track(done.settings, done.params) == run.info.run_id
    assert len(runs(done)) == 1


def test_a_half_logged_run_is_finished(done: Workspace) -> None:
    (run,) = runs(done)
    client, run_id = client_of(done), run.info.run_id
    client.delete_tag(run_id, COMPLETE)
    half = client.create_logged_model(run.info.experiment_id, "half", source_run_id=run_id)
    assert track(done.settings, done.params) == run_id
    (run,) = runs(done)
    assert run.data.tags[COMPLETE] == "true"
    assert run.data.tags[MODEL_ID] != half.model_id
    history = client.get_metric_history(run_id, "xgboost_train_rmse")
    assert len(history) == len({point.step for point in history})


def test_a_deleted_run_is_tracked_again_with_the_time_of_its_data(
    mlflow_file: str, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path, mlflow_file, "again").make(houses(600), rounds=2, at=1000)
    first = track(workspace.settings, workspace.params)
    workspace.make(houses(600), rounds=3, at=2000)
    track(workspace.settings, workspace.params)
    assert {run.data.tags[DATA_TIME] for run in runs(workspace)} == {"1000000"}
    workspace.make(houses(600), rounds=2, at=3000)
    client_of(workspace).delete_run(first)
    again = track(workspace.settings, workspace.params)
    assert again != first
    assert {run.data.tags[DATA_TIME] for run in runs(workspace)} == {"1000000"}


def test_a_run_of_before_models_had_a_digest_is_logged_anew(
    mlflow_file: str, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path, mlflow_file, "before").make(houses(600), rounds=2)
    first = track(workspace.settings, workspace.params)
    client_of(workspace).delete_tag(first, BUNDLE)
    again = track(workspace.settings, workspace.params)
    assert again != first
    assert BUNDLE in client_of(workspace).get_run(again).data.tags
    assert track(workspace.settings, workspace.params) == again


def test_tracking_at_the_same_time_makes_one_run(mlflow_server: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, mlflow_server, "race").make(houses(600), rounds=2)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: track(workspace.settings, workspace.params), range(2)))
    (run,) = runs(workspace)
    assert made == [run.info.run_id] * 2


def test_the_stages_script_tracks(mlflow_file: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, mlflow_file, "script").make(houses(600), rounds=2)
    environment = {"MLFLOW_TRACKING_URI": mlflow_file, "HOUSING_EXPERIMENT": "script"}
    subprocess.run(
        [sys.executable, str(ROOT / "stages/track_model.py")],
        cwd=tmp_path,
        env=os.environ | environment,
        check=True,
    )
    (run,) = runs(workspace)
    assert run.data.tags[COMPLETE] == "true"


def test_a_changed_workspace_is_not_tracked(done: Workspace, tmp_path: Path) -> None:
    shutil.copytree(done.root, tmp_path / "copy")
    copy = Workspace(tmp_path / "copy", done.store, "changed")
    (copy.root / "reports/predictions.parquet").write_bytes(b"")
    with pytest.raises(EvidenceError, match=r"predictions.parquet is not what its stage wrote"):
        track(copy.settings, copy.params)
    (copy.root / "models/xgboost.ubj").unlink()
    with pytest.raises(EvidenceError, match=r"models/xgboost.ubj is missing"):
        track(copy.settings, copy.params)


def test_a_workspace_without_a_result_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="names no candidate"):
        read_result(tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/evaluation_report.json").write_text('{"candidate": "xgboost"}')
    with pytest.raises(EvidenceError, match="has no hash of data/interim"):
        read_result(tmp_path)


def test_a_chain_that_does_not_close_is_noticed(done: Workspace) -> None:
    start = read_result(done.root).hashes
    assert broken_links(done.root, start) == []
    with relocked(done) as stages:
        stages["feature_engineering"]["deps"][0]["md5"] = "0" * 32
    assert broken_links(done.root, start) == [
        "feature_engineering ran on another data/interim/houses.parquet"
    ]
    done.lock()


def test_an_out_without_a_hash_is_missing(done: Workspace) -> None:
    with relocked(done) as stages:
        for out in stages["evaluate_model"]["outs"]:
            out.pop("md5")
    with pytest.raises(EvidenceError, match="has no hash of reports/evaluation_report"):
        read_result(done.root)
    done.lock()


def test_a_stage_that_was_removed_breaks_no_chain(done: Workspace) -> None:
    with relocked(done) as stages:
        stages["train_model@linear"] = {
            "cmd": "train",
            "deps": [{"path": "data/features/train.parquet", "md5": "0" * 32}],
            "outs": [{"path": "models/linear.ubj", "md5": "1" * 32}],
        }
    assert broken_links(done.root, read_result(done.root).hashes) == []
    done.lock()


def test_a_stage_that_was_renamed_leaves_the_result_as_it_is(done: Workspace) -> None:
    result = read_result(done.root)
    with relocked(done) as stages:
        gone = copy.deepcopy(stages["feature_engineering"])
        for out in gone["outs"]:
            out["md5"] = "0" * 32
        stages["z_features"] = gone
    assert read_result(done.root) == result
    assert broken_links(done.root, result.hashes) == []
    with relocked(done) as stages:
        stages["train_model@xgboost"]["deps"][0]["md5"] = "0" * 32
    assert broken_links(done.root, result.hashes) == [
        "train_model@xgboost ran on another data/features/train.parquet"
    ]
    done.lock()


def test_a_server_that_is_not_there_is_unavailable(done: Workspace) -> None:
    away = Workspace(done.root, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TrackingUnavailableError, match="gives no answer"):
        track(away.settings, away.params)


def test_a_deleted_experiment_says_how_to_get_it_back(mlflow_file: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, mlflow_file, "gone").make(houses(600), rounds=2)
    client = client_of(workspace)
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        track(workspace.settings, workspace.params)


def test_the_time_of_data_is_when_it_was_written(done: Workspace) -> None:
    os.utime(done.root / "data/interim/houses.parquet", (5, 5))
    assert data_time(done.root) == 5000


def test_a_store_is_made_whole_although_its_creation_was_killed(tmp_path: Path) -> None:
    store = tmp_path / ".mlflow" / "mlflow.db"
    store.parent.mkdir()
    with closing(sqlite3.connect(store)) as half:  # as a killed MLflow leaves it
        half.execute("CREATE TABLE registered_models (name)")
        half.execute("CREATE TABLE experiments (experiment_id)")
    create = "import sys; from housing.mlops.tracking.sqlite import create_store;"
    create += "create_store(f'sqlite:///{sys.argv[1]}', None)"
    killed, other = (
        subprocess.Popen([sys.executable, "-c", create, store], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    partial = store.with_name(".mlflow.db.partial")
    while not list(partial.glob("mlflow.db")):
        assert other.poll() is None, other.communicate()[1]
        time.sleep(0.01)
    killed.kill()
    errors = [process.communicate()[1] for process in (killed, other)]
    assert other.returncode == 0, errors
    assert not partial.exists()
    with connected(load_settings(tmp_path).model_copy(update={"tracking_uri": ""})) as client:
        assert client.search_registered_models() == []


def test_a_file_that_is_no_store_is_no_traceback(tmp_path: Path) -> None:
    store = tmp_path / ".mlflow" / "mlflow.db"
    store.parent.mkdir()
    store.write_text("no database at all" * 99)
    own = load_settings(tmp_path).model_copy(update={"tracking_uri": ""})
    with (
        pytest.raises(TrackingError, match=r"mlflow\.db: file is not a database\n  next: mv "),
        connected(own),
    ):
        pass
    assert store.read_text().startswith("no database")


def test_the_revision_is_the_commit_and_whether_code_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        done = subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    root = tmp_path / "project"
    root.mkdir()
    assert not git_revision(root)
    git("init", "--quiet")
    assert not git_revision(root)
    for name in ("code.py", "dvc.lock"):
        (root / name).write_text("first\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    head = git("rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "")  # as in the stack's image, where there is no git
    (root / "dvc.lock").write_text("a result\n")
    (root / "new.txt").touch()
    assert git_revision(root) == head
    (root / "code.py").write_text("second\n")
    assert git_revision(root) == f"{head}+"

"""The house-price DAGs where workers share no folder: what they render, and what is refused."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from housing.engine.errors import GraphError
from housing.errors import ConfigError

ROOT = Path(__file__).parents[1]
REMOTE = "[core]\nremote = r\n['remote \"r\"']\nurl = s3://bucket/houses\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a DAG bundle lays it out."""
    root = tmp_path_factory.mktemp("bundle") / "version"
    skipped = shutil.ignore_patterns("cache", "tmp", "__pycache__", "config.local")
    for name in (".dvc", "dags", "stages", "housing", "data/landing"):
        shutil.copytree(ROOT / name, root / name, ignore=skipped)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOUSING_WORKSPACE_KIND", "isolated")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("HOUSING_ROOT", str(tmp_path))  # says nothing here


def rendered(bundle: Path, name: str) -> DAG:
    dag: Any = runpy.run_path(str(bundle / "dags" / f"{name}.py"))["dag"]
    assert isinstance(dag, DAG)
    return dag


@pytest.mark.usefixtures("isolated")
def test_the_pipeline_is_that_of_the_bundle_and_writes_back(bundle: Path) -> None:
    with pytest.raises(GraphError, match="dvc remote add --default"):
        rendered(bundle, "housing_ml_pipeline")
    (bundle / ".dvc/config").write_text(REMOTE)
    dag = rendered(bundle, "housing_ml_pipeline")
    stage: Any = dag.get_task("evaluate_model")
    assert (stage.root, stage.sharing.isolated) == (str(bundle), True)
    assert stage.env == {"PYTHONPATH": "."}
    back: Any = dag.get_task("write_back")
    assert (back.root, len(back.stages)) == (str(bundle), len(dag.tasks) - 8)
    assert back.upstream_task_ids == {"track_model"}
    assert back.downstream_task_ids == {"send_failure_alert"}
    assert "asset" not in str(dag.schedule)  # a delivery is a commit
    compare: Any = rendered(bundle, "housing_champion").get_task("compare")
    assert compare.root == str(bundle)


@pytest.mark.usefixtures("isolated")
def test_what_needs_one_machine_is_refused_with_the_way_out(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"echo housing_batch_scoring.py >>dags/.airflowignore"):
        rendered(bundle, "housing_batch_scoring")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ConfigError, match="set MLFLOW_TRACKING_URI"):
        rendered(bundle, "housing_rollback")

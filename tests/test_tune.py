"""The search for settings goes on where it stopped, and MLflow shows its trials."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from housing.mlops.tracking.connection import connected
from scripts.tune import STUDY, search, untested
from tests.synthetic import Workspace, houses


def test_a_search_goes_on_where_it_stopped(tmp_path: Path, mlflow_file: str) -> None:
    workspace = Workspace(tmp_path, mlflow_file, "tuned").make(houses(400), rounds=2)
    small = workspace.params.train["xgboost"].model_copy(update={"n_estimators": 3})
    params = workspace.params.model_copy(update={"train": {"xgboost": small}})
    rows = untested(tmp_path, params)
    first = search(workspace.settings, params, "xgboost", 1, rows)
    (begun,) = first.trials  # the settings of params.yaml are the first to beat
    assert begun.params["max_depth"] == small.max_depth
    study = search(workspace.settings, params, "xgboost", 3, rows)
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert len(study.trials[0].intermediate_values) == 3
    with connected(workspace.settings) as client:
        experiment = client.get_experiment_by_name("tuned-tuning")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run.info.run_id for run in runs if STUDY in run.data.tags)
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert sorted(run.info.run_name for run in trials) == ["trial 0", "trial 1", "trial 2"]
    assert all(run.data.metrics["validation_rmse"] > 0 for run in trials)
    # What the pipeline tests on says nothing to the search.
    tested = set(pl.read_parquet(tmp_path / "data/features/test.parquet")["_target"].to_list())
    every = pl.read_parquet(tmp_path / "data/interim/houses.parquet")
    assert every["price"].is_in(tested).sum() == len(tested)
    assert rows.sort("price").equals(every.filter(~pl.col("price").is_in(tested)).sort("price"))
    # Other rows are another search.
    other = search(workspace.settings, params, "xgboost", 1, rows.head(200))
    assert [trial.number for trial in other.trials] == [0]

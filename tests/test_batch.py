"""Files priced by a version of a real registry, tracked in a real MLflow."""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import fsspec
import polars as pl
import pytest
from mlflow.entities import Run
from typer.testing import CliRunner, Result

from housing.cli import app
from housing.domain.scoring import Scores
from housing.errors import ConfigError, DataError, RegistryError, StorageError
from housing.mlops import registry
from housing.mlops.batch_scoring import INBOX, OUTBOX, outputs, predict, waiting
from housing.mlops.registry import environment
from housing.mlops.registry.download import holder, serving
from housing.mlops.scored_files import track
from housing.mlops.tracking.connection import connected
from tests.synthetic import Workspace, houses, make_params, under_model


@pytest.fixture(scope="module")
def promoted(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A promoted version 1, and no champion yet."""
    params = under_model(make_params(), "batch-price")
    made = Workspace(tmp_path_factory.mktemp("batch"), mlflow_server, "batch", params)
    made.make(houses())
    verdict = registry.validate(made.settings, made.params)
    assert verdict.passed, verdict.reasons
    registry.promote(made.settings, made.params, verdict)
    (made.root / INBOX).mkdir(parents=True)
    return made


@pytest.fixture(scope="module")
def workspace(promoted: Workspace) -> Workspace:
    """The promoted version 1, which is the champion too."""
    registry.set_champion(promoted.settings, promoted.params, "1", "me", "first")
    return promoted


def runs_of(workspace: Workspace) -> list[Run]:
    with connected(workspace.settings) as client:
        experiment = client.get_experiment_by_name("batch-scoring")
        return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_nothing_can_be_priced_before_there_is_a_champion(
    promoted: Workspace, request: pytest.FixtureRequest
) -> None:
    unknown = under_model(promoted.params, "of-another-name")
    for params, hint in ((promoted.params, "housing champion VERSION"), (unknown, "housing run")):
        with pytest.raises(RegistryError, match="champion points to no version") as error:
            waiting(promoted.settings, params, "champion")
        assert error.value.hint.startswith(hint)
    workspace = request.getfixturevalue("workspace")
    version, files = waiting(workspace.settings, workspace.params, "champion")
    assert (version, files) == ("1", ())


def test_the_champion_tells_what_it_was_made_with(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOUSING_ROOT", str(workspace.root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.settings.store)

    def finding() -> dict[str, str]:
        done = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)
        (found,) = (one for one in json.loads(done.stdout) if one["name"] == "versions")
        return dict(found)

    assert finding()["detail"] == "version 1 (champion) was made with those here"
    here = version("xgboost")
    monkeypatch.setattr(
        environment, "version", lambda name: "0.1" if name == "xgboost" else version(name)
    )
    told = finding()
    assert told["state"] == "warning"
    assert told["detail"] == f"version 1 (champion) was made with xgboost {here}, here 0.1"


def test_a_waiting_file_is_priced_once_and_tracked_once(workspace: Workspace) -> None:
    settings, params = workspace.settings, workspace.params
    file = settings.root / INBOX / "june.csv"
    rows = houses(50, seed=5).drop("price")
    rows.with_columns(
        north=pl.when(pl.col("north") > 35.9).then(None).otherwise("north")
    ).write_csv(file)
    bad = int((rows["north"] > 35.9).sum())
    version, files = waiting(settings, params, "staging")
    assert files == (file,)

    scores = predict(settings, params, file, version)

    assert (scores.rows, scores.quarantined) == (50, bad)
    predictions, quarantine = outputs(settings, file, version)
    assert pl.read_parquet(predictions).height == 50 - bad
    assert pl.read_parquet(quarantine).height == bad
    assert waiting(settings, params, "staging") == (version, ())
    assert predict(settings, params, file, version) == scores == Scores.read(predictions)
    (run,) = runs_of(workspace)
    assert run.data.metrics["rows"] == 50
    assert run.data.metrics["quarantined"] == bad
    assert 0 <= run.data.metrics["drift_income"] < 1
    assert run.data.params["version"] == version


def test_a_file_that_was_priced_but_not_tracked_is_tracked_by_the_retry(
    workspace: Workspace,
) -> None:
    settings, params = workspace.settings, workspace.params
    file = settings.root / INBOX / "july.parquet"
    houses(20, seed=6).write_parquet(file)
    predict(settings, params, file, "1")
    before = runs_of(workspace)
    with connected(settings) as client:
        client.delete_run(next(r for r in before if r.info.run_name == file.name).info.run_id)
    predict(settings, params, file, "1")
    assert len(runs_of(workspace)) == len(before)


def test_the_drift_of_a_column_is_tracked_whatever_its_name(workspace: Workspace) -> None:
    scores = Scores(
        file="cents.csv",
        source="cents",
        run_id="run1",
        version="1",
        rows=0,
        scored=0,
        quarantined=0,
        reasons={},
        seconds=0,
        columns={},
    )
    with connected(workspace.settings) as client:
        run_id = track(client, workspace.settings, scores, {"Income ($)": 0.5, "north": 0.25})
        metrics = client.get_run(run_id).data.metrics
    assert (metrics["drift_Income ___"], metrics["drift_north"]) == (0.5, 0.25)


def test_the_files_of_a_version_are_here_only_while_they_are_needed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings, params = workspace.settings, workspace.params
    version, _ = holder(settings, params, "staging")
    with serving(settings, params, version) as found:
        (bundle,) = tmp_path.glob("housing-*/bundle")
        model = workspace.root / "models/xgboost.ubj"
        assert (bundle / "artifacts/xgboost.ubj").read_bytes() == model.read_bytes()
        assert set(found.columns) == set(houses(1).columns)
    assert not bundle.exists()


def test_a_model_of_another_table_is_said_to_be_one(workspace: Workspace) -> None:
    columns = dict(workspace.params.data.columns)
    columns["wage"] = columns.pop("income")
    data = workspace.params.data.model_copy(update={"columns": columns})
    params = workspace.params.model_copy(update={"data": data})
    file = workspace.root / "wages.csv"
    houses(10).rename({"income": "wage"}).write_csv(file)
    with pytest.raises(DataError, match="of another table: it knows income") as told:
        predict(workspace.settings, params, file, "1")
    assert "registry.model in params.yaml" in told.value.hint
    houses(10).write_csv(file)
    assert predict(workspace.settings, params, file, "1").scored == 10  # the file fits the model
    with pytest.raises(DataError, match="there is no file"):
        predict(workspace.settings, params, file.with_name("nope.csv"), "1")


def test_files_of_one_name_in_two_folders_are_two_files(workspace: Workspace) -> None:
    settings = workspace.settings
    inbox = settings.root / INBOX / "x.csv"
    files = [inbox, settings.root / "a/x.csv", settings.root / "b/x.csv", settings.root / "x.csv"]
    places = {place for file in files for place in outputs(settings, file, "1")}
    assert len(places) == 2 * len(files)
    assert {place.parent for place in places} == {settings.root / OUTBOX}
    assert outputs(settings, inbox, "1")[0].name == "x.csv.v1.parquet"


def test_a_version_that_is_not_there_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(RegistryError, match="no version 99"):
        predict(workspace.settings, workspace.params, workspace.root / "june.csv", "99")


def invoke(workspace: Workspace, *arguments: str) -> Result:
    """A `housing` command on the workspace."""
    environment = {
        "HOUSING_ROOT": str(workspace.root),
        "HOUSING_EXPERIMENT": workspace.experiment,
        "MLFLOW_TRACKING_URI": workspace.store,
    }
    return CliRunner().invoke(app, [*arguments], env=environment)


def command(workspace: Workspace, *arguments: str) -> str:
    """Its output, where it succeeds."""
    result = invoke(workspace, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_line_prices_a_file(workspace: Workspace) -> None:
    file = workspace.root / "august.csv"
    houses(10, seed=8).write_csv(file)
    first = json.loads(command(workspace, "predict", str(file), "--alias", "staging", "--json"))
    assert (first["rows"], first["scored"], first["version"]) == (10, 10, "1")
    assert pl.read_parquet(first["predictions"]).height == 10
    text = command(workspace, "predict", str(file), "--alias", "staging")
    assert "10 of 10 rows priced by version 1 (staging)" in text


def test_the_command_line_prices_an_object_and_takes_the_prices_there(workspace: Workspace) -> None:
    storage = fsspec.filesystem("memory")  # type: ignore[no-untyped-call]  # it has no types
    storage.pipe("/in/august.csv", houses(10, seed=8).write_csv().encode())
    arguments = ("predict", "memory://in/august.csv", "--alias", "staging", "--json")
    here = json.loads(command(workspace, *arguments))
    there = json.loads(command(workspace, *arguments, "--into", "memory://out"))
    name = Path(here["predictions"]).name
    assert there["predictions"] == f"memory://out/{name}"
    assert storage.cat(f"/out/{name}") == Path(here["predictions"]).read_bytes()
    assert storage.exists(there["quarantine"])
    assert not list(workspace.root.glob(".housing/objects/*/*.csv"))
    for words, kind, fact in (
        (("memory://in/no.csv",), DataError, "there is no object memory://in/no.csv"),
        (("memory://in/august.csv", "--into", "out"), ConfigError, "--into out is no address"),
        (("oss://in/august.csv",), StorageError, "oss"),
    ):
        result = invoke(workspace, "predict", *words, "--alias", "staging")
        assert isinstance(result.exception, kind), result.output
        assert fact in str(result.exception)


def test_the_command_line_explains_a_row(workspace: Workspace) -> None:
    file = workspace.root / "july.csv"
    rows = houses(4, seed=9).with_columns(north=pl.Series([34.5, None, 35.0, 35.5]))
    rows.write_csv(file)
    alias = ("--alias", "staging")
    why = json.loads(command(workspace, "explain", str(file), "3", *alias, "--json"))
    named = {one["name"]: one["dollars"] for one in why["contributions"]}
    assert why["base"] + sum(named.values()) == pytest.approx(why["prediction"])
    text = command(workspace, "explain", str(file), "3", *alias)
    assert f"row 3 of july.csv: ${why['prediction']:,.0f}" in text
    assert "by version 1 (staging)" in text
    for row, fact in (("2", "has no price: north: missing"), ("9", "has 4 row(s), and no row 9")):
        result = invoke(workspace, "explain", str(file), row, *alias)
        assert isinstance(result.exception, DataError)
        assert fact in str(result.exception)


def test_the_command_line_shows_and_sets_the_champion(workspace: Workspace) -> None:
    assert "Shall batch-price version 1 be champion?" in command(workspace, "champion")
    moved = json.loads(command(workspace, "champion", "1", "--why", "a test", "--json"))
    assert (moved["alias"], moved["version"]) == ("champion", "1")
    assert "champion is still version 1" in command(workspace, "champion", "1", "--why", "again")


def test_the_command_line_takes_the_champion_of_params_yaml(workspace: Workspace) -> None:
    params = workspace.root / "params.yaml"
    before = params.read_text()
    file = workspace.root / "october.csv"
    houses(10, seed=11).write_csv(file)
    try:
        params.write_text(before.replace("champion: champion", "champion: live"))
        moved = command(workspace, "champion", "1", "--why", "a test")
        assert "live is now version 1" in moved
        assert "airflow dags trigger housing_batch_scoring" in moved
        assert "by version 1 (live)" in command(workspace, "predict", str(file))
    finally:
        params.write_text(before)


def test_a_champion_needs_a_reason(workspace: Workspace) -> None:
    environment = {"HOUSING_ROOT": str(workspace.root)}
    result = CliRunner().invoke(app, ["champion", "1"], env=environment)
    assert isinstance(result.exception, ConfigError)


def test_the_command_line_delivers_a_file(workspace: Workspace) -> None:
    file = workspace.root / "september.csv"
    houses(10, seed=10).write_csv(file)
    assert "september.csv is delivered: 10 rows, 0 of them bad" in command(
        workspace, "deliver", str(file)
    )
    again = json.loads(command(workspace, "deliver", str(file), "--json"))
    assert again["already_there"]
    assert (workspace.root / workspace.params.data.landing / "september.csv").is_file()

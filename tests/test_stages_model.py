"""The modelling stages as DVC and a person run them, on small tables."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from housing.domain.explained_rows import COUNT
from housing.domain.features import Transform
from housing.domain.metrics import METRICS, regression_metrics
from housing.domain.model import Model
from housing.domain.tables import SIDES, read_table
from housing.engine import graph
from tests.stage_script import run_here

ROOT = Path(__file__).parents[1]
REAL = ROOT / "data" / "landing" / "california_housing.csv"
# The candidates that these tests train: small ones, whatever those of the project are.
CANDIDATES = {
    "linear": {
        "booster": "gblinear",
        "n_estimators": 20,
        "learning_rate": 0.5,
        "reg_lambda": 0,
        "early_stopping_rounds": 20,
    },
    "xgboost": {
        "booster": "gbtree",
        "n_estimators": 40,
        "learning_rate": 0.3,
        "max_depth": 7,
        "min_child_weight": 4,
        "subsample": 0.8,
        "colsample_bytree": 0.3,
        "reg_lambda": 20,
        "early_stopping_rounds": 50,
    },
}
MODELLING = (
    "feature_engineering.py",
    *(f"train_model.py {candidate}" for candidate in CANDIDATES),
    "evaluate_model.py",
)

Edit = Callable[[dict[str, Any]], None]


def edit_params(project: Path, edit: Edit) -> None:
    path = project / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def make_smaller(content: dict[str, Any]) -> None:
    content["candidates"], content["train"] = list(CANDIDATES), deepcopy(CANDIDATES)
    content["evaluate"]["resamples"] = 100


def call(project: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    here = str(Path(sys.executable).parent)
    return subprocess.run(
        command,
        cwd=project,
        env={
            **os.environ,
            "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(project / ".dvc" / "site"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def script(
    project: Path, name: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = ROOT / "stages" / f"{name}.py"
    return call(project, sys.executable, str(path), *arguments, **environment)


def repro(project: Path) -> list[str]:
    """Brings the modelling stages up to date, and gives the scripts that ran for it."""
    stages = graph.load(project).stages
    (last,) = (stage.name for stage in stages if "stages/evaluate_model.py" in stage.cmd[0])
    done = call(project, sys.executable, "-m", "dvc", "repro", last)
    assert done.returncode == 0, done.stderr
    commands = {stage.name: stage.cmd[0].removeprefix("python stages/") for stage in stages}
    return [commands[name] for name in re.findall(r"Running stage '(.*)'", done.stdout)]


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def read_rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


@pytest.fixture(scope="module")
def california(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project on a sample of its data, reproduced by DVC up to the evaluation."""
    project = tmp_path_factory.mktemp("california")
    for folder in ("housing", "stages"):
        copytree(ROOT / folder, project / folder, ignore=ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", "params.yaml"):
        copy(ROOT / name, project)
    (project / ".dvc").mkdir()
    (project / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    lines = REAL.read_text(encoding="utf-8").splitlines()
    deliver(project, "a.csv", [lines[0], *lines[1::20]])
    edit_params(project, make_smaller)
    assert repro(project) == ["ingest_data.py", *MODELLING]
    return project


def deliver(project: Path, name: str, lines: list[str]) -> None:
    (project / "data" / "landing").mkdir(parents=True, exist_ok=True)
    (project / "data" / "landing" / name).write_text("\n".join(lines), encoding="utf-8")


def test_the_sides_hold_every_row_once_and_share_no_identity(california: Path) -> None:
    tables = {side: read_table(california / f"data/features/{side}.parquet") for side in SIDES}
    houses = pl.read_parquet(california / "data/interim/houses.parquet")
    assert sum(table.frame.height for table in tables.values()) == houses.height == 1_032
    prices = np.concatenate([table.y for table in tables.values()])
    assert sorted(prices) == sorted(houses["target"])
    rows = [set(table.frame["_row"]) for table in tables.values()]
    assert len(rows[0] | rows[1] | rows[2]) == sum(map(len, rows))


def test_features_are_standardised_on_the_training_side(california: Path) -> None:
    train = read_table(california / "data/features/train.parquet").x
    assert train.mean(axis=0) == pytest.approx(0, abs=1e-4)
    assert train.std(axis=0) == pytest.approx(1, abs=1e-4)
    test = read_table(california / "data/features/test.parquet").x
    assert np.abs(test.mean(axis=0)).max() > 0.01


def test_the_reports_agree_with_the_model_and_the_predictions(california: Path) -> None:
    report = read_json(california / "reports/evaluation_report.json")
    assert report["candidate"] == "xgboost"
    for name in ("linear", "xgboost"):
        training = read_json(california / f"reports/training/{name}.json")
        assert list(training) == ["candidate", "best_iteration", "validation", "curve"]
        assert report["candidates"][name] == training["validation"]
    test = read_table(california / "data/features/test.parquet")
    predicted = Model.load(california / "models/xgboost.ubj").predict(test.x)
    scored = pl.read_parquet(california / "reports/predictions.parquet")
    assert scored["predicted"].to_list() == predicted.tolist()
    assert report["metrics"] == regression_metrics(test.y, predicted)
    assert list(report["metrics"]) == list(METRICS)
    assert report["metrics"]["r2_score"] > 0.5
    regions = {cut["region"] for cut in report["residuals"]["by_region"]}
    assert {"los_angeles", "san_francisco"} <= regions
    explained = read_rows(california / "reports/explanations.json")
    assert [row["kind"] for row in explained] == ["miss"] * COUNT + ["spread"] * COUNT
    errors = (scored["actual"] - scored["predicted"]).abs().sort(descending=True)
    misses = [abs(row["actual"] - row["explanation"]["prediction"]) for row in explained[:COUNT]]
    assert misses == errors[:COUNT].to_list()
    others = [row["explanation"]["prediction"] for row in explained[COUNT:]]
    assert others == sorted(others)
    assert {*others} < {*predicted.tolist()}
    raw = pl.read_parquet(california / "data/interim/houses.parquet")
    known = explained[0]["columns"]
    same = [(pl.col(name) - known[name]).abs() < 1e-4 for name in ("MedInc", "Population")]
    assert raw.filter(same).height == 1


def test_dvc_shows_metrics_and_plots(california: Path) -> None:
    shown = call(california, sys.executable, "-m", "dvc", "metrics", "show", "--json")
    files = json.loads(shown.stdout)[""]["data"]
    assert set(files["reports/metrics.json"]["data"]) == set(METRICS)
    drawn = call(california, sys.executable, "-m", "dvc", "plots", "show", "--json")
    plots = json.loads(drawn.stdout)["data"]
    assert len(plots) == 4
    for name, versions in plots.items():
        assert len(versions[0]["content"]["data"]["values"]) > 2, name


def test_a_stage_runs_when_its_inputs_change_and_only_then(california: Path) -> None:
    (california / "data/landing/a.csv").touch()
    (california / "housing/domain/model.py").touch()
    assert repro(california) == []

    edit_params(california, lambda content: content["train"]["xgboost"].update(n_estimators=30))
    assert repro(california) == ["train_model.py xgboost", "evaluate_model.py"]

    before = pl.read_parquet(california / "reports/predictions.parquet")
    lines = REAL.read_text(encoding="utf-8").splitlines()
    deliver(california, "b.csv", [lines[0], *lines[2::40]])
    assert repro(california) == ["ingest_data.py", *MODELLING]
    after = pl.read_parquet(california / "reports/predictions.parquet")
    assert after.height > before.height
    assert set(before["_row"]) <= set(after["_row"])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Houses with columns of every type and role but a location, split by their date."""
    project = tmp_path_factory.mktemp("other")
    copy(ROOT / "params.yaml", project)

    def describe(content: dict[str, Any]) -> None:
        make_smaller(content)
        content["data"]["columns"] = {
            "area": {"type": "float", "nullable": True},
            "rooms": {"type": "int"},
            "kind": {"type": "string", "nullable": True},
            "parcel": {"type": "int", "role": "id"},
            "agent": {"type": "string", "role": "ignore", "nullable": True},
            "sold": {"type": "date"},
            "built": {"type": "int"},
            "garage": {"type": "bool", "nullable": True},
            "price": {"type": "float", "role": "target"},
        }
        del content["data"]["identity"]
        content["split"]["by"] = "sold"
        content["features"] = {
            "ratios": {"area_per_room": ["area", "rooms"]},
            "ages": {"age": ["sold", "built"]},
            "max_categories": 2,
        }

    edit_params(project, describe)
    generator = np.random.default_rng(4)
    area, rooms = generator.uniform(40, 200, 600), generator.integers(1, 8, 600)
    kind = generator.choice(["flat", "[house]", "<loft>"], 600, p=[0.5, 0.4, 0.1])
    price = 2_000 * area + 30_000 * (kind == "flat") + generator.normal(0, 5_000, 600)
    houses = pl.DataFrame({"area": area, "rooms": rooms, "kind": kind, "price": price})
    day, n = pl.lit(dt.date(2014, 1, 1)), pl.int_range(pl.len())
    houses = houses.with_columns(
        (n % 500).alias("parcel"),  # a hundred houses are sold twice
        pl.lit(None, pl.String).alias("agent"),
        (day + pl.duration(days=n)).alias("sold"),
        (1950 + n % 60).alias("built"),
        (n % 3 == 0).alias("garage"),
    )
    sometimes = pl.int_range(pl.len()) % 11 == 0
    houses = houses.with_columns(
        pl.when(~sometimes).then(pl.col("area")), pl.when(~sometimes).then(pl.col("kind"))
    )
    (project / "data" / "interim").mkdir(parents=True)
    houses.write_parquet(project / "data" / "interim" / "houses.parquet")
    (project / "models").mkdir()
    (project / "models/deep.ubj").touch()
    for name in (
        "feature_engineering",
        "train_model linear",
        "train_model xgboost",
        "evaluate_model",
    ):
        done = run_here(project, *name.split())
        assert (done.returncode, done.stderr) == (0, "")
        if name == "feature_engineering":
            assert (
                "split by sold: validation from 2015-04-30, test from 2015-06-25; 100 older rows "
                "are held out with a newer row of the same identity\n"
            ) in done.stdout
    (project / "models/deep.ubj").unlink()
    (project / "evaluation.log").write_text(done.stdout)
    return project


def test_the_model_of_a_candidate_that_is_gone_is_told(other: Path) -> None:
    said = (other / "evaluation.log").read_text()
    assert "models also holds deep.ubj, of no candidate in params.yaml" in said
    assert "housing repro removes" in said


def test_another_table_needs_other_parameters_only(other: Path) -> None:
    transform = Transform.load(other / "data/features/transform.json")
    dates = ("sold_year", "sold_month", "built", "garage", "kind_price", "age")
    kinds = ("kind=[house]", "kind=flat")
    assert transform.features == ("area", "rooms", *dates, "area_per_room", *kinds)
    scored = pl.read_parquet(other / "reports/predictions.parquet")
    assert scored.columns == ["_row", "actual", "predicted", "lower", "upper"]
    report = read_json(other / "reports/evaluation_report.json")
    assert report["residuals"]["by_region"] == []
    assert next(iter(report["importance"])) == "area"
    explained = read_rows(other / "reports/explanations.json")[-1]
    columns = ["area", "rooms", "kind", "sold", "built", "garage", "area_per_room", "age"]
    assert list(explained["columns"]) == columns
    raw = pl.read_parquet(other / "data/interim/houses.parquet")
    house = raw.row(by_predicate=pl.col("price") == explained["actual"], named=True)
    known = explained["columns"]
    assert known["sold"] == f"{house['sold']:%Y-%m}"
    assert known["kind"] == (house["kind"] if house["kind"] in {"flat", "[house]"} else None)
    assert known["rooms"] == pytest.approx(house["rooms"], rel=1e-5)
    assert explained["latitude"] is None
    assert {part["name"] for part in explained["explanation"]["contributions"]} <= {*columns}
    assert report["metrics"]["r2_score"] > 0.5


def test_the_outputs_do_not_hang_on_threads_or_the_run(other: Path) -> None:
    outputs = sorted(
        path
        for folder in ("data/features", "models", "reports")
        for path in (other / folder).rglob("*.*")
    )
    assert len(outputs) == 18
    before = [path.read_bytes() for path in outputs]
    for name in ("feature_engineering", "train_model xgboost", "evaluate_model"):
        # The first outputs are of one thread of OpenMP and OpenBLAS, and many of Polars.
        threads = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
        done = script(other, *name.split(), **threads, PYTHONPROFILEIMPORTTIME="1")
        assert done.returncode == 0, done.stderr
        # XGBoost imports it where it is installed, for classes that no stage uses.
        assert "sklearn.base" not in done.stderr
    changed = [
        path.name for path, old in zip(outputs, before, strict=True) if path.read_bytes() != old
    ]
    assert changed == []


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            "train_model forest",
            "'forest' is no candidate of params.yaml, which has linear, xgboost",
        ),
        ("train_model", "'' is no candidate of params.yaml"),
        ("train_model linear", "data/features/validation.parquet does not exist"),
        ("evaluate_model", "reports/training/linear.json does not exist"),
        ("feature_engineering", "data/interim/houses.parquet does not exist"),
    ],
)
def test_a_stage_says_what_it_lacks(tmp_path: Path, stage: str, message: str) -> None:
    copy(ROOT / "tests/params.yaml", tmp_path)
    done = run_here(tmp_path, *stage.split())
    assert done.returncode == (os.EX_CONFIG if "candidate of" in message else os.EX_DATAERR)
    assert done.stderr.startswith(f"error: {message}")
    assert "\n  next: " in done.stderr


def test_a_stage_ends_with_its_body_whatever_a_library_leaves_behind(tmp_path: Path) -> None:
    copy(ROOT / "params.yaml", tmp_path)
    code = (
        "import threading\n"
        "from housing.stage import run, say\n"
        "def body(params):\n"
        "    threading.Thread(target=threading.Event().wait).start()\n"
        "    say('all of it')\n"
        "run(body)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,  # the thread would keep it for ever
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "all of it\n", "")

"""The logged model in a process of its own: its own code, its own rules, none of our secrets."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.model import PythonModelContext

from housing.domain.config import Params, parse_params
from housing.domain.explanation import Explanation
from housing.domain.scoring import ServedModel, priced
from housing.errors import EvidenceError, ModelError, ModelStoppedError
from housing.mlops.tracking.bundle import CODE, EXPLAINS, read_columns, write_bundle
from housing.mlops.tracking.digest import MANIFEST, compare, require, seal
from housing.mlops.tracking.pyfunc_model import HousePrices
from housing.mlops.tracking.result import read_result
from housing.mlops.tracking.worker import Worker
from tests.synthetic import ROOT, Workspace, houses, make_params
from tests.test_closure import closure, file_of

NOISE = """
import sys
print("y" * 1_000_000)
print("e" * 1_000_000, file=sys.stderr)
"""


def with_rules() -> Params:
    """A table with a range, a category, and columns of every type that may be missing."""
    content = make_params().model_dump(mode="json", exclude_none=True)
    columns = content["data"]["columns"]
    columns["north"] |= {"min": 32, "max": 43}
    columns["style"] |= {"categories": ["new", "old"]}
    columns["floors"] = {"type": "int", "nullable": True, "min": 1}
    columns["sold"] = {"type": "date", "nullable": True, "max": "2030-01-01", "format": "%d.%m.%Y"}
    columns["garage"] = {"type": "bool", "nullable": True}
    columns["parcel"] = {"type": "int", "role": "id"}
    columns["agent"] = {"type": "string", "role": "ignore"}
    del content["data"]["identity"]
    content["features"]["ages"] = {"since_2000": ["sold", "built"]}
    columns["built"] = {"type": "int"}
    return parse_params(content)


def table(rows: int = 600) -> pl.DataFrame:
    n = pl.int_range(pl.len())
    return houses(rows).with_columns(
        (n % 3 + 1).alias("floors"),
        pl.when(n % 7 > 0).then(pl.date(2014, 1, 1) + pl.duration(days=n)).alias("sold"),
        pl.when(n % 5 > 0).then(n % 2 == 0).alias("garage"),
        n.alias("parcel"),
        pl.lit("Ann").alias("agent"),
        pl.lit(2000).alias("built"),
    )


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Path]:
    """A result, and its model as the pipeline logs it."""
    workspace = Workspace(tmp_path_factory.mktemp("result"), "", params=with_rules())
    workspace.make(table(), rounds=5)
    bundle = tmp_path_factory.mktemp("logged") / "bundle"
    write_bundle(bundle, workspace.params, read_result(workspace.root), None, None)
    return workspace, bundle


@pytest.fixture(scope="module")
def bundle(logged: tuple[Workspace, Path]) -> Path:
    return logged[1]


@pytest.fixture(scope="module")
def worker(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A model that prints more than a pipe holds."""
    noisy = changed(bundle, tmp_path_factory.mktemp("noisy"), NOISE)
    with Worker(noisy) as opened:
        yield opened


def changed(bundle: Path, folder: Path, code: str) -> Path:
    """A copy of a model whose code does something else first."""
    copy = folder / "copy"
    shutil.copytree(bundle, copy)
    features = copy / "code/housing/domain/features.py"
    features.write_text(features.read_text() + code)
    return copy


def rows() -> pl.DataFrame:
    return table(6).drop("price", "parcel", "agent")


def test_the_code_of_a_model_is_all_that_it_imports() -> None:
    wanted = {file_of(name) for name in closure(ROOT / "housing/mlops/tracking/pyfunc_model.py")}
    assert {f"housing/{name}" for name in CODE} == wanted


def test_prices_are_those_that_were_judged(logged: tuple[Workspace, Path], worker: Worker) -> None:
    workspace, _ = logged
    predicted = pl.read_parquet(workspace.root / "reports/predictions.parquet")
    from housing.mlops.tracking.logged_rows import test_rows  # pytest would collect it

    asked = test_rows(workspace.root, workspace.params).select(workspace.params.data.inputs)
    answer = worker.price(asked)
    for ours, theirs in (("prediction", "predicted"), ("lower", "lower"), ("upper", "upper")):
        np.testing.assert_allclose(answer[ours], predicted[theirs])
    assert answer["reasons"].null_count() == asked.height


def test_a_change_of_todays_code_changes_no_price(
    bundle: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = worker.price(rows())
    monkeypatch.setattr("housing.domain.features.distance", lambda *_: pl.lit(-1.0))
    model = ServedModel("run", "1", read_columns(bundle), partial(Worker, bundle))
    after, _ = priced(rows(), model)
    np.testing.assert_array_equal(after["prediction"], before["prediction"])


def test_a_row_that_breaks_a_rule_has_reasons_and_no_price(worker: Worker) -> None:
    n = pl.int_range(pl.len())
    bad = rows().with_columns(
        north=pl.when(n == 1).then(999.0).when(n == 2).then(None).otherwise("north"),
        style=pl.when(n == 3).then(pl.lit("tent")).otherwise("style"),
        floors=pl.when(n == 4).then(-5).otherwise("floors"),
    )
    answer = worker.price(bad)
    assert answer["reasons"].to_list() == [
        None,
        "north: above 43",
        "north: missing",
        "style: none of new, old",
        "floors: below 1",
        None,
    ]
    assert answer["prediction"].is_null().to_list() == answer["reasons"].is_not_null().to_list()
    assert worker.price(bad[1:2])["prediction"].to_list() == [None]


def test_a_logged_model_explains_its_prices(worker: Worker) -> None:
    asked = rows().with_columns(style=pl.Series(["new"] * 5 + ["tent"]))
    prices, answer = worker.price(asked), worker.explain(asked)
    assert answer["reasons"].to_list() == [None] * 5 + ["style: none of new, old"]
    assert answer["explanation"].is_null().to_list() == [False] * 5 + [True]
    for text, price, lower, upper, _ in zip(answer["explanation"][:5], *prices[:5], strict=True):
        why = Explanation.model_validate_json(text)
        assert (why.prediction, why.lower, why.upper) == (price, lower, upper)
        assert why.base + sum(one.dollars for one in why.contributions) == pytest.approx(price)


def test_a_model_that_was_logged_before_explanations_says_so(bundle: Path, tmp_path: Path) -> None:
    older = changed(bundle, tmp_path, "")
    (older / "code/housing" / EXPLAINS).unlink()
    with pytest.raises(ModelError, match="older than the explanations"):
        Worker(older).explain(rows())


def test_an_optional_column_may_be_missing_or_left_out(worker: Worker) -> None:
    empty = worker.price(rows().with_columns(pl.lit(None, pl.Int64).alias("floors")))
    without = worker.price(rows().drop("floors"))
    assert without["prediction"].to_list() == empty["prediction"].to_list()
    assert without["reasons"].null_count() == 6


def test_rows_that_only_the_model_refuses_go_to_quarantine(bundle: Path, worker: Worker) -> None:
    columns = read_columns(bundle)
    columns["north"] = columns["north"].model_copy(update={"max": None})
    north = pl.when(pl.int_range(pl.len()) == 1).then(44.0).otherwise("north")
    model = ServedModel("run", "1", columns, lambda: lent(worker))
    prices, scores = priced(rows().with_columns(north=north), model)
    assert prices["row"].to_list() == [1, 3, 4, 5, 6]
    assert scores.reasons == {"north: above 43": 1}


class Lent:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def __enter__(self) -> Worker:
        return self.worker

    def __exit__(self, *_: object) -> None:
        """Leaves it open."""


lent = Lent


def test_a_request_in_json_is_priced_as_the_table_is(bundle: Path, worker: Worker) -> None:
    import mlflow.pyfunc

    names = rows().columns
    days = pl.col("sold").dt.to_string("%Y-%m-%d")
    content = [list(row) for row in rows().with_columns(days).iter_rows()]
    request = {"dataframe_split": {"columns": names, "data": content}}
    loaded = mlflow.pyfunc.load_model(str(bundle), suppress_warnings=True)
    schema = loaded.metadata.get_input_schema()
    parsed = scoring_server.infer_and_parse_data(request, schema)
    answer = loaded.predict(parsed)
    np.testing.assert_allclose(answer["prediction"], worker.price(rows())["prediction"])


LOGGED_EARLIER = """
import json
from pathlib import Path

import mlflow
import pandas as pd


class Flat(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        report = json.loads(Path(context.artifacts["report"]).read_text())
        self.halfwidth = report["prediction_interval"]["halfwidth"]

    def predict(self, context, model_input, params=None):
        price = model_input["floors"].fillna(0) * 1000.0
        half = self.halfwidth
        return pd.DataFrame({"prediction": price, "lower": price - half, "upper": price + half})


mlflow.models.set_model(Flat())
"""


def test_a_model_from_before_the_appraiser_still_prices(bundle: Path, tmp_path: Path) -> None:
    old = changed(bundle, tmp_path, "")
    (old / "code/housing/domain/appraiser.py").unlink()
    (old / "pyfunc_model.py").write_text(LOGGED_EARLIER)
    with Worker(old) as opened:
        answer = opened.price(rows())
    assert answer["prediction"].to_list() == [1000.0, 2000.0, 3000.0] * 2
    assert (answer["upper"] > answer["lower"]).all()


def test_mlflows_server_answers_what_scoring_gets(bundle: Path, worker: Worker) -> None:
    names = {
        "model": "xgboost.ubj",
        "transform": "transform.json",
        "report": "evaluation_report.json",
        "columns": "columns.json",
    }
    artifacts = {key: str(bundle / "artifacts" / name) for key, name in names.items()}
    context = PythonModelContext(artifacts, None)  # type: ignore[no-untyped-call] # MLflow's
    model = HousePrices()
    model.load_context(context)
    frame = rows().with_columns(north=pl.Series([99.0, 35, 35, 35, 35, 35]))
    asked, text = frame.to_pandas(), io.StringIO()
    answer = model.predict(context, asked)
    assert answer.to_dict("list") == worker.price(frame).to_dict(as_series=False)
    scoring_server.predictions_to_json(answer, text)  # type: ignore[no-untyped-call] # MLflow's
    lines = json.loads(text.getvalue(), parse_constant=pytest.fail)["predictions"]
    assert lines[0] == {  # NaN is no JSON
        "prediction": None,
        "lower": None,
        "upper": None,
        "reasons": "north: above 43",
    }
    assert lines[1]["prediction"] > 0
    assert isinstance(model.predict(context, asked[1:])["prediction"].dtype, np.dtype)
    assert model.predict(context, asked[:0]).empty
    assert isinstance(asked, pd.DataFrame)


def test_a_model_sees_no_secret_and_loads_no_package_in_vain(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("PGPASSWORD", "MLFLOW_TRACKING_PASSWORD", "AIRFLOW__API_AUTH__JWT_SECRET", "A_KEY")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    code = "\nimport os, sys\nraise RuntimeError(' '.join([*os.environ, *sys.modules]))\n"
    with Worker(changed(bundle, tmp_path, code)) as opened, pytest.raises(ModelError) as told:
        opened.price(rows())
    found = told.value.fact.split()
    assert {"PATH", "xgboost"} <= set(found)
    heavy = ("mlflow", "pandas", "sklearn", "sqlalchemy")
    assert not {*secrets, *heavy}.intersection(found)


def test_a_model_that_dies_leaves_its_last_words(bundle: Path, tmp_path: Path) -> None:
    code = "\nimport os, sys\nprint('out of memory', file=sys.stderr, flush=True)\nos._exit(9)\n"
    with (
        Worker(changed(bundle, tmp_path, code)) as opened,
        pytest.raises(ModelError, match="cannot predict: out of memory"),
    ):
        opened.price(rows())


def test_a_model_that_is_killed_is_not_the_models_fault(bundle: Path) -> None:
    with Worker(bundle) as opened:
        opened._process.kill()
        with pytest.raises(ModelStoppedError, match="killed by signal 9"):
            opened.price(rows())


def test_a_model_that_gives_no_answer_is_given_up(bundle: Path) -> None:
    with (
        Worker(bundle, patience=0.05) as opened,
        pytest.raises(ModelStoppedError, match=r"no answer within 0\.05 s"),
    ):
        opened.price(rows())


def test_a_model_dies_with_whoever_asks(bundle: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from housing.mlops.tracking.worker import Worker\n"
        "with Worker(Path(sys.argv[1])) as worker:\n"
        "    print(worker._process.pid, flush=True)\n    time.sleep(600)\n"
    )
    asker = subprocess.Popen([sys.executable, "-c", code, str(bundle)], stdout=subprocess.PIPE)
    assert asker.stdout is not None
    pid = int(asker.stdout.readline())
    asker.send_signal(signal.SIGKILL)
    asker.communicate()
    for _ in range(600):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the model's process lives on")


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Path, str]:
    """A small folder with its digest."""
    (tmp_path / "code").mkdir()
    (tmp_path / "MLmodel").write_text("flavors\n")
    (tmp_path / "code/a.py").write_text("a = 1\n")
    return tmp_path, seal(tmp_path)


def test_a_model_as_it_was_logged_is_proved(sealed: tuple[Path, str]) -> None:
    require(*sealed, "it")
    found, expected = compare(*sealed)
    assert found == expected
    assert set(found) == {"MLmodel", "code/a.py", MANIFEST}
    done = subprocess.run(["sha256sum", "-c", MANIFEST], cwd=sealed[0], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("code/a.py", "a = 2\n", "code/a.py was changed"),
        ("code/a.py", None, "code/a.py is missing"),
        ("code/b.py", "b = 1\n", "code/b.py was added"),
        (MANIFEST, "", f"{MANIFEST} was changed"),
        (MANIFEST, None, f"{MANIFEST} is missing"),
    ],
)
def test_a_model_that_was_changed_is_refused(
    sealed: tuple[Path, str], path: str, text: str | None, said: str
) -> None:
    file = sealed[0] / path
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(EvidenceError, match=f"it in MLflow is not .* judged: {said}\n"):
        require(*sealed, "it")


def test_a_list_of_hashes_made_anew_does_not_help(sealed: tuple[Path, str]) -> None:
    (sealed[0] / "code/a.py").write_text("a = 2\n")
    seal(sealed[0])
    with pytest.raises(EvidenceError, match=f"{MANIFEST} was changed"):
        require(*sealed, "it")


def test_a_link_counts_as_a_file(sealed: tuple[Path, str], tmp_path: Path) -> None:
    (sealed[0] / "code/c").symlink_to(tmp_path)
    with pytest.raises(EvidenceError, match="code/c was added"):
        require(*sealed, "it")

"""Every way to fail that we know of: none of them moves an alias to the challenger."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from urllib.parse import urlparse

import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _get_store

from housing.dashboard.data import collect
from housing.domain.config import Params
from housing.domain.scoring import Scores
from housing.domain.verdict import Check, Verdict
from housing.errors import EvidenceError, RegistryError, RunNotFoundError
from housing.mlops.registry import (
    aliases,
    promote,
    read_journal,
    rollback,
    set_champion,
    validate,
    versions,
)
from housing.mlops.registry.client import VERDICT
from housing.mlops.registry.comparison import side_by_side
from housing.mlops.registry.download import serving
from housing.mlops.registry.fast_check import settled
from housing.mlops.registry.journal import Entry, journal_id, open_entry
from housing.mlops.registry.promote import summary
from housing.mlops.registry.run_artifacts import Record
from housing.mlops.tracking.connection import connected
from housing.mlops.tracking.digest import BUNDLE, MANIFEST, seal
from housing.mlops.tracking.logged_rows import SEEN_ROWS
from housing.mlops.tracking.result import PREDICTIONS, REPORT, TRANSFORM, file_md5, read_result
from housing.mlops.tracking.tracked_run import COMPLETE, HASH, MODEL_ID, ROWS
from tests.synthetic import Workspace, houses, under_model

OLD, NEW = 1000.0, 2000.0
STEPS = count(1)


@dataclass
class Scene:
    """A champion in the alias `staging`, and a challenger that passes unless something is wrong."""

    champion: Workspace
    challenger: Workspace
    first: Verdict
    second: Verdict

    @property
    def params(self) -> Params:
        return self.challenger.params

    @property
    def client(self) -> MlflowClient:
        with connected(self.challenger.settings) as client:
            return client

    def validate(self, **gate: float) -> Verdict:
        limits = self.params.gate.model_copy(update=gate)
        return validate(self.challenger.settings, self.params.model_copy(update={"gate": limits}))

    def promote(self, verdict: Verdict) -> None:
        promote(self.challenger.settings, self.params, verdict)

    def staging(self) -> str:
        """Result that the alias holds."""
        return aliases(self.challenger.settings, self.params)["staging"].result

    def artifact(self, path: str) -> Path:
        """A file of the challenger's run, where the store keeps it."""
        run = self.client.get_run(self.second.run_id)
        return Path(urlparse(run.info.artifact_uri).path) / path

    def bundle(self, verdict: Verdict) -> Path:
        """Folder of a logged model, where the store keeps it."""
        model = self.client.get_run(verdict.run_id).data.tags[MODEL_ID]
        return Path(urlparse(self.client.get_logged_model(model).artifact_location).path)


@pytest.fixture(scope="module")
def base(mlflow_file: str, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Both results, tracked, judged and promoted once."""
    place = mlflow_file, "failures"
    champion = Workspace(tmp_path_factory.mktemp("champion"), *place)
    challenger = Workspace(tmp_path_factory.mktemp("challenger"), *place)
    champion.make(houses(800), rounds=20, at=OLD)
    challenger.make(houses(1200), rounds=60, at=NEW)
    first = validate(champion.settings, champion.params)
    promote(champion.settings, champion.params, first)
    second = validate(challenger.settings, challenger.params)
    assert first.passed, first.reasons
    assert second.passed, second.reasons
    return Scene(champion, challenger, first, second)


@pytest.fixture
def scene(base: Scene, request: pytest.FixtureRequest) -> Scene:
    """The same two results under a registered model of their own, the champion promoted."""
    params = under_model(base.params, request.node.name[:100])
    client = base.client
    for verdict in (base.first, base.second):
        client.set_tag(verdict.run_id, VERDICT, summary(verdict))
    promote(base.champion.settings, params, base.first)
    return replace(
        base,
        champion=replace(base.champion, params=params),
        challenger=replace(base.challenger, params=params),
    )


def test_without_a_fault_the_challenger_is_promoted(scene: Scene) -> None:
    scene.promote(scene.second)
    assert scene.staging() == scene.second.result


def test_the_same_promotion_twice_at_once_makes_one_version(scene: Scene) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(scene.promote, [scene.second] * 3))
    assert scene.staging() == scene.second.result
    known = versions(scene.challenger.settings, scene.params)
    assert [version.version for version in known] == ["1", "2"]
    told = read_journal(scene.challenger.settings, scene.params)
    assert [(entry.from_version, entry.to_version) for entry in told] == [(None, "1"), ("1", "2")]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the gate does with the models, in its order."""
    done: list[str] = []
    read, start, ask = Record.read, Record.start, Record.ask

    def reads(record: Record) -> None:
        done.append("read")
        read(record)

    def starts(record: Record, processes: ExitStack) -> None:
        done.append("start")
        start(record, processes)

    def asks(record: Record, rows: pl.DataFrame) -> tuple[pl.DataFrame, Scores]:
        done.append("ask")
        return ask(record, rows)

    monkeypatch.setattr(Record, "read", reads)
    monkeypatch.setattr(Record, "start", starts)
    monkeypatch.setattr(Record, "ask", asks)
    return done


def test_the_models_start_at_once_when_all_evidence_is_read(scene: Scene, steps: list[str]) -> None:
    assert scene.validate().contest == "refresh"
    assert steps == ["read", "read", "start", "start", "ask", "ask"]


Fault = Callable[[Scene], AbstractContextManager[None]]


def tag(key: str, value: str | None) -> Fault:
    """Changes or removes a tag of the challenger's run, for a while."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        run_id = scene.second.run_id
        before = scene.client.get_run(run_id).data.tags[key]
        if value is None:
            scene.client.delete_tag(run_id, key)
        else:
            scene.client.set_tag(run_id, key, value)
        try:
            yield
        finally:
            scene.client.set_tag(run_id, key, before)

    return fault


def metric(value: float) -> Fault:
    """Logs another test RMSE over the challenger's, for a while."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        run_id = scene.second.run_id
        before = scene.client.get_run(run_id).data.metrics["test_rmse"]
        scene.client.log_metric(run_id, "test_rmse", value, step=next(STEPS))
        try:
            yield
        finally:
            scene.client.log_metric(run_id, "test_rmse", before, step=next(STEPS))

    return fault


@contextmanager
def changed(file: Path, content: bytes | None) -> Iterator[None]:
    """Gives a file other content, or takes it away, for a while."""
    before = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def artifact(path: str, content: bytes | None) -> Fault:
    """Changes a file of the challenger's run."""
    return lambda scene: changed(scene.artifact(path), content)


def bundled(name: str, content: bytes | None) -> Fault:
    """Changes a file of the challenger's logged model."""
    return lambda scene: changed(scene.bundle(scene.second) / name, content)


@contextmanager
def added(scene: Scene) -> Iterator[None]:
    """A file more in the challenger's logged model, that Python would load."""
    file = scene.bundle(scene.second) / "code/pandas.py"
    file.write_text("raise SystemExit('taken over')")
    try:
        yield
    finally:
        file.unlink()


@contextmanager
def leaked(scene: Scene) -> Iterator[None]:
    """A test row among the rows that training has seen, and the tag to match."""
    file = scene.artifact(SEEN_ROWS)
    key = f"{ROWS}{SEEN_ROWS}"
    test = pl.read_parquet(scene.artifact(PREDICTIONS), columns=["_row"])
    seen = pl.concat([pl.read_parquet(file), test.head(1)])
    with changed(file, file.read_bytes()):
        seen.write_parquet(file)
        with tag(key, file_md5(file))(scene):
            yield


@contextmanager
def withdrawn(scene: Scene) -> Iterator[None]:
    """The challenger was promoted and rolled back."""
    scene.promote(scene.second)
    rollback(scene.challenger.settings, scene.params, "staging", "ann", "it prices barns as flats")
    yield


@contextmanager
def other_code(scene: Scene) -> Iterator[None]:
    """The logged model's code adds a hundred dollars, and did so when it was logged."""
    bundle = scene.bundle(scene.second)
    file, hashes = bundle / "code/housing/domain/appraiser.py", bundle / MANIFEST
    text = file.read_text(encoding="utf-8")
    assert text.count("price = self.model.predict(x)") == 1
    text = text.replace("price = self.model.predict(x)", "price = self.model.predict(x) + 100")
    with (
        changed(file, text.encode()),
        changed(hashes, hashes.read_bytes()),
        tag(BUNDLE, seal(bundle))(scene),
    ):
        yield


@contextmanager
def champion_deleted(scene: Scene) -> Iterator[None]:
    """Somebody deleted the run of the model in the alias."""
    scene.client.delete_run(scene.first.run_id)
    try:
        yield
    finally:
        scene.client.restore_run(scene.first.run_id)


@contextmanager
def champion_tampered(scene: Scene) -> Iterator[None]:
    """The model in the alias has other bytes than it was promoted with."""
    with changed(scene.bundle(scene.first) / "artifacts/xgboost.ubj", b"other"):
        yield


@contextmanager
def chain_broken(scene: Scene) -> Iterator[None]:
    """A stage in dvc.lock ran on data that is no longer there."""
    lock = scene.challenger.root / "dvc.lock"
    text = lock.read_text(encoding="utf-8")
    md5 = file_md5(scene.challenger.root / "data/interim/houses.parquet")
    start = text.index("feature_engineering")
    with changed(lock, (text[:start] + text[start:].replace(md5, "0" * 32, 1)).encode()):
        yield


@pytest.mark.parametrize(
    ("fault", "failed", "said"),
    [
        pytest.param(
            tag(f"{HASH}data/interim/houses.parquet", "0" * 32),
            "run_tags",
            "houses.parquet in the run's tags is not what was evaluated",
            id="other-data",
        ),
        pytest.param(tag(f"{HASH}models/xgboost.ubj", "0" * 32), "run_tags", "", id="other-model"),
        pytest.param(tag(f"{HASH}{TRANSFORM}", None), "run_tags", "is missing", id="tag-missing"),
        pytest.param(
            bundled("artifacts/xgboost.ubj", b"x"), "artifact_bytes", "ubj", id="model-bytes"
        ),
        pytest.param(
            bundled("artifacts/xgboost.ubj", None), "artifact_bytes", "missing", id="model-gone"
        ),
        pytest.param(
            bundled("artifacts/transform.json", b"{}"), "artifact_bytes", "", id="transform"
        ),
        pytest.param(
            bundled("artifacts/evaluation_report.json", b"{}"), "artifact_bytes", "", id="interval"
        ),
        pytest.param(
            bundled("artifacts/columns.json", b"{}"), "artifact_bytes", "columns", id="rules"
        ),
        pytest.param(
            bundled("pyfunc_model.py", b"raise SystemExit"), "artifact_bytes", "pyfunc", id="code"
        ),
        pytest.param(added, "artifact_bytes", "code/pandas.py of the model", id="code-added"),
        pytest.param(tag(BUNDLE, "0" * 64), "artifact_bytes", MANIFEST, id="other-digest"),
        pytest.param(artifact(REPORT, b"{}"), "artifact_bytes", "report", id="report-bytes"),
        pytest.param(artifact(PREDICTIONS, b""), "artifact_bytes", "", id="predictions-empty"),
        pytest.param(artifact(PREDICTIONS, None), "artifact_bytes", "", id="predictions-gone"),
        pytest.param(artifact(SEEN_ROWS, b"x"), "artifact_bytes", "rows/seen", id="seen-rows"),
        pytest.param(tag(MODEL_ID, "m-none"), "artifact_bytes", "missing", id="model-deleted"),
        pytest.param(chain_broken, "lock_chain", "ran on another", id="chain-broken"),
        pytest.param(withdrawn, "not_withdrawn", "prices barns as flats", id="rolled-back"),
        pytest.param(metric(1.0), "metrics_agree", "rmse is 1.0000 in MLflow", id="metric-edited"),
        pytest.param(metric(math.nan), "metrics_agree", "rmse is nan", id="metric-nan"),
        pytest.param(leaked, "rows_held_out", "seen 1 test rows", id="rows-overlap"),
        pytest.param(other_code, "golden_rows", "at most $100.00", id="served-code-differs"),
        pytest.param(champion_deleted, "rival_known", "was deleted", id="champion-deleted"),
        pytest.param(champion_tampered, "rival_known", "trusted", id="champion-tampered"),
    ],
)
def test_a_fault_fails_with_its_reason(scene: Scene, fault: Fault, failed: str, said: str) -> None:
    with fault(scene):
        verdict = scene.validate()
        failures = [check for check in verdict.checks if not check.passed]
        assert [check.name for check in failures] == [failed]
        assert said in failures[0].sentence
        with pytest.raises(RegistryError, match="did not pass the gate"):
            scene.promote(verdict)
        with pytest.raises(RegistryError, match="not the one that MLflow holds"):
            scene.promote(verdict.model_copy(update={"passed": True}))  # forged
    assert scene.staging() == scene.first.result


def failing(verdict: Verdict) -> dict[str, Check]:
    return {check.name: check for check in verdict.checks if not check.passed}


def test_every_limit_stops_a_model_that_breaks_it(scene: Scene) -> None:
    limits = {"min_r2": 0.999, "max_rmse": 1, "min_rows": 10_000}
    failed = failing(scene.validate(**limits))
    assert set(failed) == {"r2_score", "rmse", "common_rows"}
    assert "10000" in str(failed["common_rows"].limit)
    assert scene.staging() == scene.first.result


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (bundled("artifacts/xgboost.ubj", b"x"), "artifacts/xgboost.ubj was changed"),
        (bundled("pyfunc_model.py", b"raise SystemExit"), "pyfunc_model.py was changed"),
        (bundled("artifacts/columns.json", None), "artifacts/columns.json is missing"),
        (added, "code/pandas.py was added"),
        (tag(BUNDLE, "0" * 64), "names the digest of its files"),
        (tag(MODEL_ID, "m-other"), "names the logged model"),
    ],
    ids=["model", "code", "gone", "added", "other-digest", "other-model"],
)
def test_a_version_that_is_not_what_was_judged_is_not_used(
    scene: Scene, fault: Fault, said: str
) -> None:
    scene.promote(scene.second)
    settings, params = scene.challenger.settings, scene.params
    uses: list[Callable[[], object]] = [
        lambda: set_champion(settings, params, "2", "ann", "newer"),
        lambda: serving(settings, params, "2").__enter__(),
        lambda: side_by_side(settings, params),
    ]
    set_champion(settings, params, "1", "ann", "first")
    with fault(scene):
        for use in uses:
            with pytest.raises(EvidenceError, match=said):
                use()
    assert aliases(settings, params)["champion"].version == "1"


def test_a_rollback_to_a_changed_version_is_refused(scene: Scene) -> None:
    scene.promote(scene.second)
    with (
        changed(scene.bundle(scene.first) / "pyfunc_model.py", b""),
        pytest.raises(EvidenceError, match=r"version 1 .* pyfunc_model\.py was changed"),
    ):
        rollback(scene.challenger.settings, scene.params, "staging", "ann", "slow")
    assert scene.staging() == scene.second.result


@contextmanager
def before_digests(scene: Scene) -> Iterator[None]:
    """The model in the alias was registered before models had a digest."""
    model, run_id = scene.params.registry.model, scene.first.run_id
    digest = scene.client.get_run(run_id).data.tags[BUNDLE]
    scene.client.delete_tag(run_id, BUNDLE)
    scene.client.delete_model_version_tag(model, "1", BUNDLE)
    try:
        yield
    finally:
        scene.client.set_tag(run_id, BUNDLE, digest)
        scene.client.set_model_version_tag(model, "1", BUNDLE, digest)


def test_a_version_without_a_digest_is_not_run_but_compared_by_what_is_recorded(
    scene: Scene, steps: list[str]
) -> None:
    settings, params = scene.champion.settings, scene.params
    with before_digests(scene), changed(scene.bundle(scene.first) / "pyfunc_model.py", b"raise 1"):
        with pytest.raises(EvidenceError, match="nothing proves its code"):
            serving(settings, params, "1").__enter__()
        with pytest.raises(EvidenceError, match="nothing proves its code"):
            set_champion(settings, params, "1", "ann", "first")
        assert settled(settings, params, read_result(scene.champion.root)) is None
        verdict = scene.validate()
    assert verdict.passed, verdict.reasons
    assert steps == ["read", "read", "start", "ask"]
    (rows,) = [check.value for check in verdict.checks if check.name == "common_rows"]
    assert rows == pl.read_parquet(scene.champion.root / PREDICTIONS).height


def test_older_and_worse_does_not_replace_newer_and_better(scene: Scene) -> None:
    scene.promote(scene.second)
    verdict = validate(scene.champion.settings, scene.params)
    assert {"data_not_older", "gain"} <= set(failing(verdict))
    assert scene.staging() == scene.second.result


def test_a_change_on_the_same_data_must_be_better(scene: Scene, tmp_path: Path) -> None:
    workspace = replace(scene.champion, root=tmp_path).make(houses(800), rounds=15, at=OLD)
    verdict = validate(workspace.settings, workspace.params)
    assert verdict.contest == "improvement"
    assert "gain" in failing(verdict)
    assert scene.staging() == scene.first.result


def test_predictions_that_are_no_numbers_fail(scene: Scene, tmp_path: Path) -> None:
    shutil.copytree(scene.challenger.root, tmp_path / "nan")
    workspace = replace(scene.challenger, root=tmp_path / "nan")
    file = workspace.root / PREDICTIONS
    pl.read_parquet(file).with_columns(predicted=pl.lit(math.nan)).write_parquet(file)
    workspace.lock()
    verdict = validate(workspace.settings, workspace.params)
    assert "not finite numbers" in failing(verdict)["predictions_measurable"].sentence
    assert scene.staging() == scene.first.result


def test_empty_predictions_are_not_even_tracked(scene: Scene, tmp_path: Path) -> None:
    shutil.copytree(scene.challenger.root, tmp_path / "empty")
    workspace = replace(scene.challenger, root=tmp_path / "empty")
    file = workspace.root / PREDICTIONS
    pl.read_parquet(file).clear().write_parquet(file)
    workspace.lock()
    with pytest.raises(EvidenceError, match="holds no row"):
        validate(workspace.settings, workspace.params)
    assert scene.staging() == scene.first.result


def test_a_missing_run_is_tracked_again_but_not_from_other_files(
    scene: Scene, tmp_path: Path
) -> None:
    shutil.copytree(scene.challenger.root, tmp_path / "other")
    workspace = replace(scene.challenger, root=tmp_path / "other", experiment="unknown")
    (workspace.root / "models/xgboost.ubj").write_bytes(b"other")
    with pytest.raises(EvidenceError, match=r"xgboost\.ubj is not what its stage wrote"):
        validate(workspace.settings, workspace.params)
    assert scene.staging() == scene.first.result


def test_a_run_that_was_deleted_since_the_verdict_is_not_promoted(scene: Scene) -> None:
    scene.client.delete_run(scene.second.run_id)
    with pytest.raises(
        RunNotFoundError,
        match=r"was deleted(.|\n)*MLFLOW_TRACKING_URI=\S+ mlflow runs restore",
    ):
        scene.promote(scene.second)
    scene.client.restore_run(scene.second.run_id)
    assert scene.staging() == scene.first.result


def test_a_run_that_never_was_is_not_promoted(scene: Scene) -> None:
    with pytest.raises(RunNotFoundError, match="has no run"):
        scene.promote(scene.second.model_copy(update={"run_id": "0" * 32}))
    assert scene.staging() == scene.first.result


def test_a_champion_whose_run_is_gone_for_ever_has_a_way_on(scene: Scene, tmp_path: Path) -> None:
    params = under_model(scene.params, f"{scene.params.registry.model}_gone")
    gone = replace(scene.champion, root=tmp_path, params=params, experiment="run-is-gone")
    gone.make(houses(800), 25, at=OLD)
    first = validate(gone.settings, params)
    promote(gone.settings, params, first)
    set_champion(gone.settings, params, "1", "ann", "the first")
    scene.client.delete_run(first.run_id)
    # As `mlflow gc` does; MLflow publishes no types for it.
    _get_store(gone.store)._hard_delete_run(first.run_id)  # type: ignore[no-untyped-call]

    assert versions(gone.settings, params)[0].metrics == {}
    with pytest.raises(RunNotFoundError, match=r"mlflow gc.*\n.*housing champion VERSION"):
        side_by_side(gone.settings, params)
    unasked = params.registry.model_copy(update={"champion": "nobody"})
    with pytest.raises(RunNotFoundError, match="mlflow gc"):
        side_by_side(gone.settings, params.model_copy(update={"registry": unasked}))
    with connected(gone.settings) as client:
        assert collect(client, gone.settings, params).aliases == ()

    (check,) = failing(validate(scene.challenger.settings, params)).values()
    assert (check.name, "housing rollback --alias staging" in check.sentence) == (
        "rival_known",
        True,
    )
    again = validate(gone.settings, params)  # the very same result, logged again
    assert (again.passed, again.contest) == (True, "same")
    exec(check.sentence.split('python -c "')[1].rstrip('"'))  # the command, as it is told
    assert validate(scene.challenger.settings, params).contest == "first"


def test_a_half_logged_run_is_not_promoted(scene: Scene) -> None:
    with tag(COMPLETE, None)(scene), pytest.raises(RunNotFoundError, match="half logged"):
        scene.promote(scene.second)
    assert scene.staging() == scene.first.result


def test_a_verdict_against_another_champion_is_made_again(scene: Scene, tmp_path: Path) -> None:
    third = replace(scene.challenger, root=tmp_path).make(houses(1200), rounds=250, at=NEW)
    better = validate(third.settings, third.params)
    promote(third.settings, third.params, better)
    with pytest.raises(RegistryError, match="does not pass against it"):
        scene.promote(scene.second)
    assert scene.staging() == better.result
    scene.client.set_tag(scene.second.run_id, VERDICT, summary(scene.second))
    with pytest.raises(RegistryError, match="the workspace has gone on"):
        promote(third.settings, third.params, scene.second)
    assert scene.staging() == better.result


def test_a_promotion_gives_way_to_newer_data(scene: Scene) -> None:
    with connected(scene.challenger.settings) as client:
        peer = Entry(
            model=scene.params.registry.model,
            alias="staging",
            kind="promote",
            from_version="1",
            to_version="9",
            who="a peer",
            why="passed the gate",
            data_time=int(NEW * 1000) + 1,
            evidence={},
        )
        open_entry(client, journal_id(client, scene.challenger.settings), peer)
    with pytest.raises(RegistryError, match="version 9, made from newer data"):
        scene.promote(scene.second)
    assert scene.staging() == scene.first.result

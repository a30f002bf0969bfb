"""Stages on workers that share nothing but DVC's remote and Airflow's XComs.

A worker is a folder with its own copy of the DAG bundle, workspaces and cache; a task runs by the
operator's own ``execute``. `tests/workers.py` does the same through Celery.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time.context import OutletEventAccessors

from housing.engine import DvcDag, graph
from housing.engine.airflow import host_cache, isolation, results
from housing.engine.airflow.compat import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
)
from housing.engine.airflow.isolation import VARIABLE
from housing.engine.airflow.workspace import Workspace
from housing.engine.errors import DiskFullError, GraphError
from housing.engine.execution import lock_entries
from housing.engine.graph import manifest
from tests.repository import make_repository

FILES = {
    ".gitignore": "/note.json\n",
    "in.txt": "hello\n",
    "params.yaml": "limit: 1\nlevel: 1\n",
    "dvc.yaml": dedent("""
        stages:
          a:
            cmd:
              - echo a >>$RAN
              - mkdir -p parts
              - cp in.txt parts/1
              - cp in.txt parts/2
              - echo {} >note.json
            deps: [in.txt]
            params: [level]
            outs: [parts]
            metrics: [{note.json: {cache: false}}]
          b:
            foreach: ["1", "2"]
            do:
              cmd: echo b${item} >>$RAN && cat parts/${item} params.yaml >models/${item}
              deps: [parts]
              params: [limit]
              outs:
                - models/${item}
          c:
            cmd: echo c >>$RAN && cat models/* note.json >all.txt
            deps: [models, note.json]
            outs: [all.txt]
    """),
    "models/.gitignore": "/1\n/2\n",
}
ORDER = ("a", "b@1", "b@2", "c")


class Run:
    """A run of the DAG: what Airflow keeps of it, for tasks on any worker."""

    def __init__(self, run_id: str, params: dict[str, Any] | None = None) -> None:
        self.run_id = run_id
        self.params = params or {}
        self.xcoms: dict[str, Any] = {}
        self.over: set[str] = set()

    def ti(self, task_id: str) -> Any:  # noqa: ANN401 - what the operator asks of Airflow
        def push(key: str, value: Any) -> None:  # noqa: ANN401 - any XCom
            if key == BaseXCom.XCOM_RETURN_KEY:
                self.xcoms[task_id] = json.loads(json.dumps(value))

        def count(dag_id: str, run_ids: list[str], states: list[str] | None) -> int:
            return int(dag_id == "p" and not (states and run_ids[0] in self.over))

        return SimpleNamespace(
            dag_id="p",
            run_id=self.run_id,
            task_id=task_id,
            try_number=1,
            max_tries=0,
            bundle_instance=SimpleNamespace(version="abc"),
            xcom_push=push,
            xcom_pull=lambda **given: self.xcoms.get(given["task_ids"]),
            get_dr_count=count,
        )


class Worker:
    """A worker with folders of its own, which has the bundle of one commit."""

    def __init__(self, base: Path, name: str, origin: Path) -> None:
        self.folder = base / name
        self.bundle = self.folder / "bundle"
        self.host = self.folder / "host"
        git(base, "clone", "--quiet", str(origin), str(self.bundle))
        shutil.rmtree(self.bundle / ".git")  # as Airflow's bundles of one version are

    @property
    def ran(self) -> list[str]:
        """The commands that ran here."""
        file = self.folder / "ran"
        return file.read_text().split() if file.exists() else []

    def do(self, run: Run, stage: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """Runs the task of a stage; returns its record."""
        monkeypatch.setenv(VARIABLE, str(self.host))
        monkeypatch.setenv("RAN", str(self.folder / "ran"))
        dag = DvcDag("p", root=self.bundle, workspace="isolated")
        task = dag.stages[stage]
        ti = run.ti(task.task_id)
        events = OutletEventAccessors()
        context: Any = {"params": run.params, "ti": ti, "outlet_events": events}
        with contextlib.suppress(AirflowSkipException):
            ti.xcom_push(BaseXCom.XCOM_RETURN_KEY, task.execute(context))
        record: dict[str, Any] = run.xcoms[task.task_id]
        return record

    def objects(self) -> int:
        """How many objects its cache has."""
        return sum(1 for path in self.host.glob("cache/files/md5/??/*") if path.is_file())

    def copy(self, path: str) -> Path:
        """A file in the only workspace here."""
        return next(self.host.glob("runs/*/copy")) / path


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("isolated")
    root = base / "origin"
    make_repository(root)
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    with (root / ".dvc/config").open("a") as config:
        config.write(f"    remote = r\n['remote \"r\"']\n    url = {base / 'remote'}\n")
    commit(root)
    return base


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "as it is")


@pytest.fixture(scope="module")
def first(made: Path) -> tuple[Run, Worker, Worker]:
    """A run whose stages alternate between two workers."""
    with pytest.MonkeyPatch.context() as patch:
        one, two = (Worker(made, name, made / "origin") for name in ("one", "two"))
        run = Run("first")
        for stage, worker in zip(ORDER, (one, two, one, two), strict=True):
            worker.do(run, stage, patch)
        return run, one, two


def test_stages_on_two_workers_make_one_result(first: tuple[Run, Worker, Worker]) -> None:
    run, one, two = first
    assert [run.xcoms[task]["state"] for task in ("a", "b.1", "b.2", "c")] == ["ran"] * 4
    assert (one.ran, two.ran) == (["a", "b2"], ["b1", "c"])
    each = "hello\n" + FILES["params.yaml"]
    assert two.copy("all.txt").read_text() == f"{each}{each}{{}}\n"
    # Nothing is laid into the bundle, and each worker has only what its stages read and wrote.
    assert not (one.bundle / "parts").exists()
    assert not one.copy("all.txt").exists()


def test_a_workspace_knows_the_stages_of_its_bundle_until_it_differs(
    made: Path, tmp_path: Path
) -> None:
    worker = Worker(made, "copier", made / "origin")
    stages = graph.load(worker.bundle)
    copied = tmp_path / "copy"
    isolation.copy(worker.bundle, copied, tmp_path)
    assert manifest.read(copied) == manifest.read(worker.bundle)
    assert graph.load(copied) == stages
    (copied / "dvc.yaml").write_text(FILES["dvc.yaml"].replace('["1", "2"]', '["1"]'))
    assert manifest.read(copied) is None


def test_an_unchanged_run_moves_no_bytes_on_an_empty_worker(
    made: Path, first: tuple[Run, Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    git(made, "clone", "--quiet", "--bare", "origin", "again.git")
    done = write_back(first[1], first[0], made / "again.git")
    assert done["stages"] == ["a", "b@1", "b@2", "c"]
    empty, run = Worker(made, "empty", made / "again.git"), Run("second")
    records = [empty.do(run, stage, monkeypatch) for stage in ORDER]
    assert [record["state"] for record in records] == ["unchanged"] * 4
    assert {(record["fetched"], record["pushed"]) for record in records} == {(0, 0)}
    assert (empty.objects(), empty.ran) == (0, [])


def write_back(worker: Worker, run: Run, origin: Path) -> dict[str, Any]:
    """Runs the last task of the DAG, whose bundle follows a branch of a bare repository."""
    task: Any = DvcDag("p", root=worker.bundle, workspace="isolated").get_task("write_back")
    branch = subprocess.check_output(["git", "branch", "--show-current"], cwd=origin, text=True)
    ti = run.ti("write_back")
    ti.bundle_instance = SimpleNamespace(
        version="abc", tracking_ref=branch.strip(), repo_url=str(origin), repo_path=worker.bundle
    )
    done: dict[str, Any] = task.execute({"params": run.params, "ti": ti})
    return done


def test_a_retry_on_another_worker_goes_on_from_what_is_there(
    made: Path, first: tuple[Run, Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of `b@2` died, and all its folders with it."""
    run, _, two = first
    third = Worker(made, "third", made / "origin")
    record = third.do(run, "b@2", monkeypatch)
    assert record["state"] == "restored"  # by the run cache in the remote
    assert third.do(run, "c", monkeypatch)["state"] == "restored"
    assert third.copy("all.txt").read_text() == two.copy("all.txt").read_text()


def test_the_same_stage_on_two_workers_at_once_is_one_result(
    made: Path, first: tuple[Run, Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost heartbeat: Airflow gave the task to another worker while the first went on."""
    workers = [Worker(made, name, made / "origin") for name in ("lost", "new")]
    run = Run("twice", {"dvc_force": "a"})
    entries = [worker.do(run, "a", monkeypatch)["entry"] for worker in workers]
    assert [worker.ran for worker in workers] == [["a"], ["a"]]
    assert entries[0] == entries[1] == first[0].xcoms["a"]["entry"]


@pytest.mark.usefixtures("first")
def test_runs_with_different_overrides_do_not_meet(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(made, "overrides", made / "origin")
    runs = [Run(f"limit-{n}", {"dvc_overrides": [f"limit={n}"]}) for n in (2, 3)]
    for stage in ORDER:
        for run in runs:
            worker.do(run, stage, monkeypatch)
    assert worker.ran == ["b1", "b1", "b2", "b2", "c", "c"]  # `a` came from the remote
    texts = {path.read_text() for path in worker.host.glob("runs/*/copy/all.txt")}
    assert sorted(text.count("limit: 2") for text in texts) == [0, 2]


def test_an_edit_in_a_workspace_and_a_damaged_cache_change_nothing(
    made: Path,
    first: tuple[Run, Worker, Worker],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker, run = Worker(made, "edited", made / "origin"), Run("edited", {"dvc_force": "c"})
    for stage in ORDER:
        worker.do(run, stage, monkeypatch)
    worker.copy("models/1").chmod(0o644)
    worker.copy("models/1").write_text("mine\n")
    (damaged,) = {
        path
        for path in worker.host.glob("cache/files/md5/??/*")
        if path.read_bytes() == worker.copy("models/2").read_bytes()
    }
    damaged.chmod(0o644)
    damaged.write_text("damaged\n")
    damaged.chmod(0o444)
    worker.do(run, "c", monkeypatch)
    assert "models/1 is not what dvc.lock says: replaced" in caplog.text
    assert "is damaged, so it is removed from the cache" in caplog.text
    assert worker.copy("all.txt").read_text() == first[2].copy("all.txt").read_text()


def test_a_full_disk_is_named_before_the_stage_and_leaves_no_half_workspace(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, run = Worker(made, "full", made / "origin"), Run("full")
    full = shutil.Error(
        [("dvc.yaml", "copy/dvc.yaml", str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))]
    )

    def half(_: Path, target: Path, **_given: object) -> None:
        target.mkdir()
        raise full

    with monkeypatch.context() as patch:
        patch.setattr("housing.engine.airflow.isolation.shutil.copytree", half)
        with pytest.raises(DiskFullError, match=f"the disk of {worker.host}.* has no room"):
            worker.do(run, "a", monkeypatch)
    assert not list(worker.host.glob("runs/*/copy"))
    assert worker.do(run, "a", monkeypatch)["state"] in {"ran", "restored"}


def test_a_connection_that_airflow_lacks_is_named_and_how_to_make_it(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(made, "login", made / "origin")
    monkeypatch.setenv(VARIABLE, str(worker.host))
    login = {"remote_conn_id": "lake"}
    dag = DvcDag("p", root=worker.bundle, workspace="isolated", operator_args=login)

    def lacks(conn_id: str) -> None:
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr("airflow.sdk.Connection.get", lacks)
    context: Any = {"params": {}, "ti": Run("login").ti("a")}
    with pytest.raises(AirflowFailException, match="airflow connections add lake"):
        dag.stages["a"].execute(context)


def test_workspaces_of_runs_that_are_over_are_swept(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(made, "swept", made / "origin")
    worker.do(Run("old"), "a", monkeypatch)
    (old,) = (worker.host / "runs").iterdir()
    new = Run("new")
    worker.do(new, "a", monkeypatch)
    assert old.exists()  # it still runs
    last = Run("last")
    last.over = {"old"}
    worker.do(last, "a", monkeypatch)
    assert not old.exists()
    assert len(list((worker.host / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (".dvc/config", "[core]\n", "dvc remote add --default"),
        (".dvc/config", "[core]\nremote = r\n['remote \"r\"']\nurl = ../r\n", "absolute address"),
        ("dvc.yaml", "stages: {s: {cmd: x, outs: [{/tmp/o: {cache: false}}]}}", "/tmp/o lies"),
        ("dvc.yaml", "stages: {s: {cmd: x, deps: [../in]}}", r"the dep /.*/in lies outside"),
        (
            "raw.dvc",
            "deps: [{path: in.txt}]\nouts: [{path: raw}]",
            "dvc freeze raw.dvc",
        ),
        ("dvc.yaml", "stages: {s: {cmd: x, deps: [no.txt]}}", r"the dep no\.txt is in no commit"),
        (
            "dvc.yaml",
            "stages: {a: {cmd: x, outs: [o: {push: false}]}, b: {cmd: x, deps: [o/1]}}",
            "whose out o is never pushed",
        ),
    ],
)
def test_what_cannot_work_isolated_is_refused_when_the_dag_is_made(
    made: Path, tmp_path: Path, file: str, text: str, said: str
) -> None:
    shutil.copytree(made / "origin", tmp_path / "o")
    (tmp_path / "o" / file).write_text(text)
    DvcDag("p", root=tmp_path / "o")
    with pytest.raises(GraphError, match=said):
        DvcDag("p", root=tmp_path / "o", workspace="isolated")


def test_a_task_after_the_stages_gets_what_it_reads_and_nothing_else(
    made: Path, first: tuple[Run, Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, run = Worker(made, "after", made / "origin"), first[0]
    monkeypatch.setenv(VARIABLE, str(worker.host))
    dag = DvcDag("p", root=worker.bundle, workspace="isolated")
    context: Any = {"dag": dag, "ti": run.ti("gate")}
    place = Workspace.of(worker.bundle, ("p", run.run_id), (), isolated=True)
    with place.entered() as root:
        assert results.lay_out(context, place, ["models/1", "note.json"]) == []
        laid = {name for name in ("models/1", "models/2", "note.json") if (root / name).exists()}
        assert laid == {"models/1", "note.json"}
        assert set(lock_entries.read(root / "dvc.lock")) == set(ORDER)
        assert results.lay_out(context, place) == []
        assert (root / "all.txt").read_text() == first[2].copy("all.txt").read_text()


def test_the_cache_of_a_host_keeps_what_its_runs_use_where_it_is_too_large(
    made: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(made, "small", made / "origin")
    caplog.set_level("INFO", "housing.engine.airflow.host_cache")
    used, over = Run("used"), Run("over", {"dvc_overrides": ["level=9"]})
    worker.do(over, "a", monkeypatch)
    md5 = worker.do(used, "a", monkeypatch)["outs"][0]["md5"]
    cache = worker.host / "cache/files/md5"
    before = {path.name for path in cache.glob("??/*")}
    monkeypatch.setenv(host_cache.LIMIT, "0")
    folder = next(path for path in (worker.host / "runs").iterdir() if "over" in path.name)
    with (folder / "inside").open() as inside:  # a task works there
        fcntl.flock(inside, fcntl.LOCK_SH)
        worker.do(Run("third"), "a", monkeypatch)
    assert {path.name for path in cache.glob("??/*")} >= before
    assert "other tasks work, so it stays" in caplog.text
    (cache / "ab").mkdir(exist_ok=True)
    (cache / "ab" / ("c" * 30)).write_text("of a run that nobody remembers")
    worker.do(Run("fourth"), "a", monkeypatch)
    assert not (cache / "ab" / ("c" * 30)).exists()
    assert (cache / md5[:2] / md5[2:]).exists()
    assert "the runs of now need" in caplog.text

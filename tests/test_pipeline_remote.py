from __future__ import annotations

import json
import logging
import shutil
import stat
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any
from unittest import mock

import pytest
from dvc.data_cloud import DataCloud
from dvc_objects.fs import generic

from housing.engine.airflow.remote_connection import login_of
from housing.engine.errors import EngineError, GraphError, RemoteError, StageFailedError
from housing.engine.execution import attempts, locks, transfers
from housing.engine.execution.sharing import Sharing
from housing.engine.execution.stage_result import StageResult
from housing.engine.execution.stage_run import StageRun
from tests.conftest import MakeRepo
from tests.repository import make_repository

BOTH = Sharing(pull=True, push=True)
FILES = {
    ".gitignore": "/note.json\n",
    "in.txt": "hello\n",
    "params.yaml": "limit: 1\n",
    "dvc.yaml": dedent("""
        stages:
          split:
            cmd:
              - mkdir -p parts
              - cp in.txt parts/a
              - tr a-z A-Z <in.txt >parts/b
              - cp in.txt c.txt
              - echo {} >note.json
            deps: [in.txt]
            outs: [parts, c.txt]
            metrics: [{note.json: {cache: false}}]
          one: {cmd: mkdir -p models && cp parts/a models/one, deps: [parts], outs: [models/one]}
          two: {cmd: mkdir -p models && cp parts/b models/two, deps: [parts/b], outs: [models/two]}
          judge:
            cmd: cat models/* note.json >verdict.txt
            deps: [models, note.json]
            params: [limit]
            outs: [verdict.txt]
    """),
}
STAGES = ("split", "one", "two", "judge")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository whose stages ran, and with the remote that has all they made."""
    base = tmp_path_factory.mktemp("made")
    make_repository(base / "repo")
    for name, text in FILES.items():
        (base / "repo" / name).write_text(text)
    use_remote(base)
    assert run(base / "repo", *STAGES) == ["ran"] * 4
    return base


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that repository, with a copy of its remote beside it."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    use_remote(tmp_path)
    return tmp_path / "repo"


@pytest.fixture
def new(make_repo: MakeRepo, tmp_path: Path) -> Path:
    """The repository before anything ran."""
    root = make_repo(FILES)
    use_remote(tmp_path)
    return root


def use_remote(base: Path) -> None:
    config = (base / "repo/.dvc/config").read_text().partition("    remote")[0]
    remote = f"    remote = here\n['remote \"here\"']\n    url = {base / 'remote'}\n"
    (base / "repo/.dvc/config").write_text(config + remote)


def run(root: Path, *stages: str, sharing: Sharing = BOTH, force: bool = False) -> list[str]:
    """States of the stages, in order."""
    return [result(root, stage, sharing, force=force).state for stage in stages]


def result(root: Path, stage: str, sharing: Sharing = BOTH, *, force: bool = False) -> StageResult:
    return StageRun(root, stage, sharing=sharing, force=force).reproduce()


def clone(root: Path, name: str) -> Path:
    """The same repository on another machine: what git knows, and nothing else."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "as it is")
    git(root.parent, "clone", "--quiet", str(root), name)
    return root.parent / name


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


def objects(root: Path) -> list[Path]:
    return [path for path in (root / ".dvc/cache").rglob("*") if path.is_file()]


def test_an_unchanged_stage_of_a_fresh_clone_downloads_nothing(root: Path) -> None:
    there = clone(root, "clone")
    records = [result(there, stage) for stage in STAGES]
    assert [record.state for record in records] == ["unchanged"] * 4
    assert [record.pushed for record in records] == [0] * 4
    # Of the folder whose one file is a dep, DVC's list of that folder is fetched, to look into it.
    assert [record.fetched > 0 for record in records] == [False, False, True, False]
    assert not (there / "verdict.txt").exists()
    assert [path.suffix for path in objects(there)] == [".dir"]
    assert [out.md5 for out in records[3].outs] == [out.md5 for out in result(root, "judge").outs]


def test_what_a_changed_stage_reads_comes_from_the_remote_and_nothing_else(root: Path) -> None:
    there = clone(root, "clone")
    (there / "params.yaml").write_text("limit: 2\n")
    record = result(there, "judge")
    assert record.state == "ran"
    assert (there / "verdict.txt").read_text() == "hello\nHELLO\n{}\n"
    assert (there / "note.json").stat().st_mode & stat.S_IWUSR  # `cache: false`: a file of its own
    assert not (there / "parts").exists()
    assert not (there / "c.txt").exists()
    assert record.fetched == len("hello\nHELLO\n{}\n")
    assert str(record.reasons[0]) == "param params.yaml:limit: 1 -> 2"


def test_a_folder_of_outs_that_are_partly_here_counts_as_a_whole(root: Path) -> None:
    there = clone(root, "clone")
    assert run(there, "one", force=True) == ["ran"]
    assert not (there / "models/two").exists()
    assert run(there, "judge") == ["unchanged"]
    lock = there / "dvc.lock"
    changed = lock.read_text().replace(md5(root, "models/two"), "a" * 32)
    lock.write_text(changed)
    with pytest.raises(StageFailedError, match=r"models/two.*\n.*dvc push"):
        run(there, "judge")


def md5(root: Path, out: str) -> str:
    return next(
        found.md5
        for stage in STAGES
        for found in result(root, stage, Sharing()).outs
        if found.path == out
    )


def test_the_result_of_an_earlier_run_elsewhere_is_restored(root: Path) -> None:
    there = clone(root, "clone")
    (there / "dvc.lock").unlink()
    (there / "params.yaml").write_text("limit: 2\n")
    with pytest.raises(StageFailedError, match="parts"):  # nobody wrote it, by this dvc.lock
        run(there, "one")
    shutil.copy(root / "dvc.lock", there / "dvc.lock")
    text = (there / "dvc.lock").read_text()
    (there / "dvc.lock").write_text(text[: text.index("  one:")])
    record = result(there, "one")
    assert record.state == "restored"
    assert (there / "models/one").read_text() == "hello\n"


def test_a_push_that_failed_is_made_up_for_without_running_the_stage(
    new: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was cut in the middle: one object got there, the next did not."""
    monkeypatch.setattr(transfers, "PATIENCE", 0)
    send, remote = generic.transfer, str(tmp_path / "remote")

    def cut(source: Any, here: list[str], target: Any, there: list[str], **given: Any) -> None:  # noqa: ANN401 - DVC's
        first = 1 if str(there[0]).startswith(remote) else len(there)
        send(source, here[:first], target, there[:first], **given)
        for pair in zip(here[first:], there[first:], strict=True):
            given["on_error"](*pair, ConnectionError("cut"))

    with monkeypatch.context() as patch:
        patch.setattr(generic, "transfer", cut)
        with pytest.raises(RemoteError, match=r"remote here \(.*\) gives .* no answer"):
            run(new, "split")
    assert {path.suffix for path in Path(remote).glob("files/md5/*/*")} == {""}  # no half folder
    record = result(new, "split")
    assert record.state == "unchanged"
    assert record.pushed > 0
    assert result(new, "split").pushed == 0
    assert run(clone(new, "clone"), "one") == ["ran"]


def test_a_remote_that_is_away_for_a_while_is_waited_for(
    new: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "remote").write_text("no folder")

    def pause(_seconds: float) -> None:
        (tmp_path / "remote").unlink(missing_ok=True)

    monkeypatch.setattr("housing.engine.execution.transfers.time.sleep", pause)
    with caplog.at_level(logging.WARNING, "housing.engine.execution"):
        assert run(new, "split") == ["ran"]
    assert "gives" in caplog.text
    assert "tried again in 2 s" in caplog.text


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (PermissionError("Access Denied"), RemoteError, "modify --global here user NAME"),
        (OSError("Unable to locate credentials"), RemoteError, "lets .* in by no credentials"),
    ],
)
def test_a_refusal_is_not_waited_for_and_names_worker_and_remote(
    new: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[EngineError],
    said: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("dvc.data_cloud.DataCloud.push", refuse)
    monkeypatch.setattr("housing.engine.execution.remote_errors.host", lambda: "worker-7")
    with pytest.raises(kind, match=said) as told:
        run(new, "split")
    assert "worker-7" in str(told.value)
    assert "here" in str(told.value)


@pytest.mark.parametrize(("lasts", "logins"), [(60.0, 1), (0.0, 2)])
def test_a_run_logs_in_once_but_anew_after_a_long_command(
    new: Path, monkeypatch: pytest.MonkeyPatch, lasts: float, logins: int
) -> None:
    monkeypatch.setattr(transfers, "_LOGIN", lasts)
    real = DataCloud.get_remote
    with mock.patch.object(DataCloud, "get_remote", autospec=True, side_effect=real) as login:
        assert run(new, "split") == ["ran"]
    assert login.call_count == logins


def test_a_login_from_an_airflow_connection_stays_in_memory(
    new: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    extra = {"endpoint_url": "http://s3", "role_arn": "r"}
    given = {"conn_type": "aws", "login": "KEY", "password": "SECRET", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(given))
    config = (new / ".dvc/config").read_text().partition("    url")[0]
    (new / ".dvc/config").write_text(f"{config}    url = s3://bucket/x\n")
    login = login_of("lake")
    assert login
    with locks.open_repo(new, lambda: None, login=login) as repo, locks.locked(repo):
        options = dict(repo.config["remote"]["here"])
    assert (options["access_key_id"], options["secret_access_key"]) == ("KEY", "SECRET")
    assert (options["endpointurl"], options.get("role_arn")) == ("http://s3", None)
    assert (
        "the connection lake: DVC knows no such options of s3://bucket/x: role_arn" in caplog.text
    )
    kept = "".join(path.read_text() for path in (new / ".dvc").glob("config*"))
    assert "SECRET" not in kept + caplog.text + repr(login)


def test_without_a_remote_nothing_runs(make_repo: MakeRepo) -> None:
    root = make_repo(FILES)
    with pytest.raises(GraphError, match="dvc remote add --default"):
        run(root, "split")
    assert not (root / "c.txt").exists()


def test_the_package_that_a_remote_needs_is_named(new: Path) -> None:
    config = new / ".dvc/config"
    config.write_text(config.read_text().partition("    url")[0] + "    url = oss://bucket/x\n")
    with pytest.raises(GraphError, match=r"pip install 'dvc\[oss\]'"):
        run(new, "split")


def test_a_damaged_object_is_fetched_again_and_never_pushed(root: Path, tmp_path: Path) -> None:
    there = clone(root, "clone")
    (there / "params.yaml").write_text("limit: 2\n")
    assert run(there, "judge") == ["ran"]
    hurt = (
        there / ".dvc/cache/files/md5" / md5(root, "models/one")[:2] / md5(root, "models/one")[2:]
    )
    damage(hurt)
    (there / "models/one").unlink()
    (there / "params.yaml").write_text("limit: 3\n")
    assert run(there, "judge") == ["ran"]
    assert (there / "verdict.txt").read_text().startswith("hello\n")

    remote = next((tmp_path / "remote").rglob(hurt.name))
    damage(remote)
    third = clone(root, "third")
    (third / "params.yaml").write_text("limit: 2\n")
    with pytest.raises(EngineError, match="damaged in the remote: models/one"):
        run(third, "judge", force=True)
    shutil.rmtree(root / ".dvc/tmp/housing/pushed")
    damage(root / ".dvc/cache/files/md5" / hurt.parent.name / hurt.name)
    with pytest.raises(EngineError, match=r"damaged in the cache of .*: models/one"):
        run(root, "one")


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("jello\n")
    path.chmod(0o444)


def test_data_of_dvc_add_comes_when_a_stage_reads_it_and_goes_with_it(new: Path) -> None:
    (new / "in.txt").rename(new / "raw.txt")
    (new / ".gitignore").write_text("/raw.txt\n")
    (new / "dvc.yaml").write_text("stages:\n  s: {cmd: cp raw.txt o, deps: [raw.txt], outs: [o]}\n")
    (new / "raw.txt.dvc").write_text("outs:\n- path: raw.txt\n  hash: md5\n")
    first = result(new, "s")
    assert first.state == "ran"
    assert first.pushed == 2 * len("hello\n") - len("hello\n")  # one content, one object
    there = clone(new, "clone")
    assert run(there, "s") == ["unchanged"]
    assert not (there / "raw.txt").exists()
    assert run(there, "s", force=True) == ["ran"]
    assert (there / "raw.txt").read_text() == "hello\n"
    assert json.loads((there / ".dvc/tmp/housing/pushed/s").read_text())["outs"]["o"]


def test_a_missing_file_that_no_stage_writes_is_no_reason_to_be_unchanged(root: Path) -> None:
    there = clone(root, "clone")
    (there / "in.txt").unlink()
    with pytest.raises(StageFailedError, match=r"needs what is not there: in\.txt"):
        run(there, "split")
    assert attempts.ATTEMPTS

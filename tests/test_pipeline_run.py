from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from housing.engine.errors import GraphError, RemoteError, StageBusyError, StageFailedError
from housing.engine.execution import lockfile, recovery, stage_run
from housing.engine.execution.stage_result import Change, StageResult
from tests.conftest import MakeRepo

FILES = {
    "in.txt": "hello\n",
    "params.yaml": "size: 1\nother: 5\n",
    "dvc.yaml": dedent("""
        stages:
          copy:
            cmd: cp in.txt out.txt
            deps: [in.txt]
            params: [size]
            outs: [out.txt]
          fill:
            cmd:
              - mkdir -p folder
              - cp out.txt folder/a
            deps: [out.txt]
            outs: [folder]
          always: {cmd: echo again}
    """),
}
HELLO = "b1946ac92492d2347c6235b4d2611184"


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    return make_repo(FILES)


def stage(root: Path, text: str, name: str = "s") -> None:
    """Adds a stage whose definition is given in YAML's flow style."""
    with (root / "dvc.yaml").open("a") as file:
        file.write(f"  {name}: {text}\n")


def status(root: Path) -> str:
    dvc = Path(sys.executable).with_name("dvc")
    done = subprocess.run([dvc, "status"], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_stage_runs_once_then_is_unchanged_then_is_restored(root: Path) -> None:
    first = stage_run.reproduce(root, "copy")
    assert first.state == "ran"
    assert first.reasons == (Change("new", "copy"),)
    assert [(out.path, out.md5, out.size, out.changed) for out in first.outs] == [
        ("out.txt", HELLO, 6, True)
    ]
    second = stage_run.reproduce(root, "copy")
    assert (second.state, second.reasons) == ("unchanged", ())
    assert second.saved_seconds > 0
    assert [(out.md5, out.changed) for out in second.outs] == [(HELLO, False)]
    (root / "in.txt").write_text("ho\n")
    assert stage_run.reproduce(root, "copy").state == "ran"
    (root / "in.txt").write_text("hello\n")
    third = stage_run.reproduce(root, "copy")
    assert third.state == "restored"
    assert third.saved_seconds > 0
    assert (root / "out.txt").read_text() == "hello\n"
    assert (third.outs[0].md5, third.outs[0].changed) == (HELLO, True)


def edit(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def drop_cache(root: Path) -> None:
    shutil.rmtree(root / ".dvc" / "cache")


WHY: dict[str, tuple[Callable[[Path], object], list[Change]]] = {
    "dep": (edit("in.txt", "ho\n"), [Change("dep", "in.txt", "b1946ac9", "79e7e210")]),
    "param": (edit("params.yaml", "size: 2\n"), [Change("param", "params.yaml:size", "1", "2")]),
    "cmd": (
        edit("dvc.yaml", FILES["dvc.yaml"].replace("cp in", "cp  in")),
        [Change("cmd", "copy", "cp in.txt out.txt", "cp  in.txt out.txt")],
    ),
    "out gone": (
        lambda root: (root / "out.txt").unlink(),
        [Change("out", "out.txt", "b1946ac9", "missing")],
    ),
    "out edited": (
        edit("out.txt", "ho\n"),
        [Change("out", "out.txt", "b1946ac9", "79e7e210")],
    ),
    "cache gone": (drop_cache, [Change("out", "out.txt", "b1946ac9", "not in cache")]),
    "all at once": (
        lambda root: [edit("in.txt", "ho\n")(root), edit("params.yaml", "size: 2\n")(root)],
        [
            Change("dep", "in.txt", "b1946ac9", "79e7e210"),
            Change("param", "params.yaml:size", "1", "2"),
        ],
    ),
    "another param": (edit("params.yaml", "size: 1\nother: 6\n"), []),
    "only touched": (lambda root: (root / "in.txt").touch(), []),
}


@pytest.mark.parametrize("case", WHY)
def test_the_reasons_are_told_before_the_command_starts(
    case: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage_run.reproduce(root, "copy")
    change, reasons = WHY[case]
    change(root)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        record = stage_run.reproduce(root, "copy")
    assert list(record.reasons) == reasons
    assert (record.state == "unchanged") == (not reasons)
    lines = [entry.getMessage() for entry in caplog.records]
    told = [at for at, line in enumerate(lines) if line.startswith("stage copy: ")]
    began = [at for at, line in enumerate(lines) if line.startswith(("Running", "Stage 'copy' is"))]
    assert len(told) == bool(reasons)
    assert not reasons or told[0] < began[0]


def test_force_runs_an_unchanged_stage(root: Path) -> None:
    stage_run.reproduce(root, "copy")
    record = stage_run.reproduce(root, "copy", force=True)
    assert (record.state, record.reasons) == ("ran", (Change("force", "copy"),))
    assert not record.outs[0].changed


def test_a_stage_without_deps_and_outs_always_runs(root: Path) -> None:
    stage_run.reproduce(root, "always")
    assert stage_run.reproduce(root, "always").reasons == (Change("always", "always"),)


def test_several_commands_and_a_folder(root: Path) -> None:
    stage_run.reproduce(root, "copy")
    record = stage_run.reproduce(root, "fill")
    assert record.command == "mkdir -p folder\ncp out.txt folder/a"
    assert (record.outs[0].path, record.outs[0].size) == ("folder", 6)
    assert record.outs[0].md5.endswith(".dir")
    assert stage_run.reproduce(root, "fill").state == "unchanged"


def test_a_stage_of_another_dvc_yaml(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "dvc.yaml").write_text(
        "stages: {s: {cmd: cp ../in.txt o, deps: [../in.txt], outs: [o]}}\n"
    )
    record = stage_run.reproduce(root, "sub/dvc.yaml:s")
    assert (record.state, record.outs[0].path) == ("ran", "sub/o")
    assert stage_run.reproduce(root, "sub/dvc.yaml:s").state == "unchanged"


def test_only_the_stage_itself_is_brought_up_to_date(root: Path) -> None:
    stage_run.reproduce(root, "copy")
    stage_run.reproduce(root, "fill")
    (root / "in.txt").write_text("ho\n")
    assert stage_run.reproduce(root, "fill").state == "unchanged"


def test_a_frozen_stage_is_left_alone(root: Path) -> None:
    stage_run.reproduce(root, "copy")
    text = FILES["dvc.yaml"].replace("params: [size]", "frozen: true\n    params: [size]")
    (root / "dvc.yaml").write_text(text)
    (root / "in.txt").write_text("ho\n")
    assert stage_run.reproduce(root, "copy").state == "unchanged"
    (root / "out.txt").unlink()
    with pytest.raises(StageFailedError, match=r"copy is frozen.* lacks: out\.txt") as caught:
        stage_run.reproduce(root, "copy")
    command, *_ = caught.value.hint.split(";")
    subprocess.run(
        ["sh", "-c", f"{Path(sys.executable).with_name('dvc')}{command[3:]}"], cwd=root, check=True
    )
    assert stage_run.reproduce(root, "copy").state == "unchanged"


def test_a_record_survives_json_and_reads_well(root: Path) -> None:
    stage_run.reproduce(root, "copy")
    (root / "in.txt").write_text("ho\n")
    record = stage_run.reproduce(root, "copy")
    assert StageResult.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    lines = record.render().splitlines()
    assert lines[0] == "copy: ran"
    assert lines[1].split() == ["command", "cp", "in.txt", "out.txt"]
    assert lines[2].split(maxsplit=1) == ["why", "dep in.txt: b1946ac9 -> 79e7e210"]
    assert lines[-1].split() == ["out", "out.txt", "3", "B", "79e7e210", "changed"]


def test_a_failing_command_gives_its_lines_and_its_code(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage(root, "{cmd: echo oops >&2; exit 7}")
    with pytest.raises(
        StageFailedError, match="stage s ended with exit code 7: echo oops"
    ) as error:
        stage_run.reproduce(root, "s")
    assert error.value.exit_code == 7
    assert "oops\n" in capfd.readouterr().err


def test_a_command_that_died_of_a_signal_says_so(root: Path) -> None:
    stage(root, "{cmd: kill -SEGV $$}")
    with pytest.raises(StageFailedError, match="stage s ended by SIGSEGV") as error:
        stage_run.reproduce(root, "s")
    assert error.value.exit_code == 128 + signal.SIGSEGV


@pytest.mark.parametrize(
    ("definition", "error", "said"),
    [
        ("{cmd: x, deps: [absent.csv]}", StageFailedError, "absent.csv"),
        ("{cmd: x, deps: ['http://127.0.0.1:1/x']}", RemoteError, "no answer from.*127.0.0.1:1/x"),
        ("{cmd: 'true', outs: [absent.csv]}", StageFailedError, "absent.csv"),
        ("{cmd: 'true', params: [absent]}", GraphError, "absent"),
        ("{cmd: 'true', params: [{absent.yaml: [a]}]}", GraphError, "absent.yaml"),
        ("{cmd: [}", GraphError, "dvc.yaml"),
    ],
)
def test_errors_are_told_apart(
    definition: str, error: type[Exception], said: str, root: Path
) -> None:
    stage(root, definition)
    with pytest.raises(error, match=said):
        stage_run.reproduce(root, "s")
    assert not list((root / ".dvc/tmp/housing/runs").glob("*"))


def test_what_cannot_be_hashed_is_told_before_dvc_opens_it(root: Path) -> None:
    stage(root, "{cmd: ls many > s.txt, deps: [many], outs: [s.txt]}")
    many = root / "many"
    many.mkdir()
    (many / "a.csv").write_text("1")
    os.mkfifo(many / "pipe.partial")
    (root / ".dvcignore").write_text("*.partial\n")
    assert stage_run.reproduce(root, "s").state == "ran"
    (many / "link.csv").symlink_to("nowhere")
    os.mkfifo(many / "pipe.csv")
    Path(os.fsdecode(os.fsencode(many) + b"/\xff.csv")).touch()
    with pytest.raises(StageFailedError) as caught:
        stage_run.reproduce(root, "s")
    for fault in (
        "many/link.csv is a link that leads nowhere",
        "many/pipe.csv is neither a file nor a folder",
        r"many/\udcff.csv has a name that is not UTF-8",
    ):
        assert fault in caught.value.fact
    assert "partial" not in caught.value.fact


def test_an_unknown_stage_is_no_stage(root: Path) -> None:
    with pytest.raises(GraphError, match="did you mean copy"):
        stage_run.reproduce(root, "coppy")


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh", None])
def test_the_command_sees_the_users_shell_and_nothing_of_ours(
    shell: str | None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shell:
        monkeypatch.setenv("SHELL", shell)
    else:
        monkeypatch.delenv("SHELL", raising=False)
    stage(root, "{cmd: env > seen; tr '\\0' ' ' < /proc/$$/cmdline >> seen; pwd >> seen}")
    before = {**os.environ, "DVC_STAGE": "s", "DVC_ROOT": str(root), "PWD": str(root)}
    stage_run.reproduce(root, "s")
    lines = (root / "seen").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line and "env >" not in line)
    changed = {name for name in seen.keys() | before if seen.get(name) != before.get(name)}
    assert changed <= {"_", "SHLVL", "OLDPWD", "HOUSING_STAGE_RUN"}
    options = " --noprofile --norc" if shell == "/bin/bash" else ""
    assert any(line.startswith(f"{shell or '/bin/sh'}{options} -c env") for line in lines)
    assert lines[-1].endswith(str(root))


def test_the_command_gets_no_secret_of_airflow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY", "FLOWER_BASIC_AUTH"]
    connections = ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW_CONN_SMTP_DEFAULT"]
    passwords = ["AIRFLOW_DB_PASSWORD", "PGPASSWORD", "POSTGRES_PASSWORD", "REDIS_PASSWORD"]
    others = ["AIRFLOW_VAR_TOKEN", "_AIRFLOW_WWW_USER_PASSWORD", "MLFLOW_DB_PASSWORD"]
    withheld = keys + connections + passwords + others
    kept = ["AIRFLOW_HOME", "AIRFLOW_CTX_DAG_ID", "MLFLOW_TRACKING_PASSWORD", "PGHOST", "MY_TOKEN"]
    for name in withheld + kept:
        monkeypatch.setenv(name, f"secret of {name}")
    # What stands between this process and the command is as readable as the command itself.
    stage(root, "{cmd: tr '\\0' '\\n' < /proc/$PPID/environ > seen; env >> seen}")
    stage_run.reproduce(root, "s")
    seen = (root / "seen").read_text()
    assert [name for name in withheld if name in seen] == []
    assert [name for name in kept if seen.count(f"{name}=secret of {name}") != 2] == []
    assert all(os.environ[name] for name in withheld)


def test_the_process_is_left_as_it_was(root: Path) -> None:
    def state() -> tuple[object, ...]:
        return (Path.cwd(), list(sys.argv), dict(os.environ), signal.getsignal(signal.SIGINT))

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    before = state()
    stage(root, "{cmd: exit 1}")
    stage_run.reproduce(root, "copy")
    with pytest.raises(StageFailedError):
        stage_run.reproduce(root, "s")
    assert state() == before
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_what_a_command_leaves_in_the_background_ends_with_it(root: Path) -> None:
    stage(root, "{cmd: setsid sleep 600 & echo $! > pid}")
    stage_run.reproduce(root, "s")
    assert not Path(f"/proc/{(root / 'pid').read_text().strip()}").exists()


def hold_rwlock(root: Path, pid: int, cmd: str) -> None:
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(exist_ok=True)
    entry = {"pid": pid, "cmd": cmd}
    path.write_text(json.dumps({"write": {str(root / "out.txt"): entry}, "read": {}}))


def test_a_person_with_dvc_repro_is_waited_for(root: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)", "repro", "copy"]
    with subprocess.Popen(command) as person:
        hold_rwlock(root, person.pid, "/somewhere/dvc repro copy")
        with pytest.raises(StageBusyError, match="repro copy"):
            stage_run.StageRun(root, "copy", patience=0.3).reproduce()
        person.kill()
    assert stage_run.reproduce(root, "copy").state == "ran"


def test_dvcs_lock_is_not_waited_for_without_end(root: Path) -> None:
    stage_run.reproduce(root, "copy")  # makes the lock file
    with (root / ".dvc/tmp/lock").open("w") as push:
        fcntl.flock(push, fcntl.LOCK_EX)
        with pytest.raises(StageBusyError, match="holds DVC's lock"):
            stage_run.StageRun(root, "copy", patience=0.3).reproduce()
    assert stage_run.reproduce(root, "copy").state == "unchanged"


def test_a_hard_link_that_a_killed_dvc_left_is_not_waited_for_without_end(root: Path) -> None:
    with (root / ".dvc" / "config").open("a") as config:
        config.write("    hardlink_lock = true\n")
    stage_run.reproduce(root, "copy")
    held = root / ".dvc/tmp/lock"
    held.write_text("the claim of a killed process")
    os.link(held, root / ".dvc/tmp/claim.lock")
    next_year = time.time() + 365 * 86400
    os.utime(held, (next_year, next_year))
    with pytest.raises(StageBusyError, match=r"rm \.dvc/tmp/lock"):
        stage_run.StageRun(root, "copy", patience=0.3).reproduce()
    held.unlink()
    (root / "in.txt").write_text("ho\n")
    hold_rwlock(root, 2**22 - 1, "dvc repro copy")
    assert stage_run.StageRun(root, "copy", patience=30).reproduce().state == "ran"
    assert not list((root / ".dvc/tmp").glob("*lock*.lock"))


def test_a_reader_of_the_lockfile_says_whom_it_waits_for_and_gives_up(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_run.reproduce(root, "copy")
    with (root / ".dvc/tmp/lock").open("w") as push:
        fcntl.flock(push, fcntl.LOCK_EX)
        monkeypatch.setattr(lockfile, "PATIENCE", 1.2)
        with caplog.at_level(logging.INFO), pytest.raises(StageBusyError, match="tmp/lock"):
            lockfile.read(root)
    assert "waiting for DVC's lock" in caplog.text
    assert "copy" in lockfile.read(root)


def test_a_person_who_is_done_lets_the_stage_run(root: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(1)", "repro"]
    with subprocess.Popen(command) as person:
        hold_rwlock(root, person.pid, "/somewhere/dvc repro")
        # Nobody waited for the process yet, which is alive enough for DVC.
        assert stage_run.StageRun(root, "copy", patience=60).reproduce().state == "ran"


@pytest.mark.parametrize(
    ("pid", "cmd"),
    [
        pytest.param(1, "dvc repro copy", id="pid 1 is another program in this container"),
        pytest.param(os.getppid(), "dvc repro copy", id="the pid belongs to another program"),
        pytest.param(2**22 - 1, "dvc repro copy", id="no such process"),
        pytest.param(os.getpid(), "housing stage copy gone", id="a killed run of ours"),
        pytest.param(1, "housing stage fill gone", id="a killed run of ours as pid 1"),
    ],
)
def test_stale_entries_in_the_rwlock_do_not_block(pid: int, cmd: str, root: Path) -> None:
    stage_run.reproduce(root, "always")
    hold_rwlock(root, pid, cmd)
    assert stage_run.StageRun(root, "copy", patience=5).reproduce().state == "ran"
    assert not any(json.loads((root / ".dvc/tmp/rwlock").read_text()).values())


@pytest.mark.parametrize("text", ["", '{"write": {"/x": {"pid', "[]", '{"write": {"/x": 3}}'])
def test_a_broken_rwlock_is_healed_with_a_warning(
    text: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / ".dvc" / "tmp").mkdir()
    (root / ".dvc" / "tmp" / "rwlock").write_text(text)
    assert stage_run.reproduce(root, "copy").state == "ran"
    assert "rwlock is broken" in caplog.text


def test_a_result_is_kept_when_somebody_deletes_the_rwlock_meanwhile(root: Path) -> None:
    stage(root, "{cmd: rm .dvc/tmp/rwlock; cp in.txt o, deps: [in.txt], outs: [o]}")
    assert stage_run.reproduce(root, "s").state == "ran"
    assert stage_run.reproduce(root, "s").state == "unchanged"


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_dvc_lock_that_was_cut_off_is_brought_back(
    cut: int, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage_run.reproduce(root, "copy")
    stage_run.reproduce(root, "fill")
    path = root / "dvc.lock"
    text = path.read_text()
    with contextlib.suppress(KeyboardInterrupt), recovery.journal(root, path):
        path.write_text(text[:cut])
        raise KeyboardInterrupt
    assert stage_run.reproduce(root, "copy").state == "unchanged"
    assert stage_run.reproduce(root, "fill").state == "unchanged"
    assert path.read_text() == text
    assert "was cut off" in caplog.text


def test_a_dvc_lock_that_was_written_whole_is_kept(root: Path) -> None:
    stage_run.reproduce(root, "copy")
    path = root / "dvc.lock"
    with contextlib.suppress(KeyboardInterrupt), recovery.journal(root, path):
        stage_run.reproduce(root, "fill")
        raise KeyboardInterrupt
    assert stage_run.reproduce(root, "fill").state == "unchanged"


def test_the_lockfile_is_read_without_dvc(root: Path) -> None:
    assert lockfile.read(root) == {}
    stage_run.reproduce(root, "copy")
    stage_run.reproduce(root, "fill")
    entries = lockfile.read(root)
    assert entries["copy"] == lockfile.LockEntry(
        cmd="cp in.txt out.txt",
        deps={"in.txt": HELLO},
        params={"params.yaml": {"size": 1}},
        outs={"out.txt": lockfile.OutEntry(HELLO, 6)},
    )
    assert entries["fill"].cmd == "mkdir -p folder\ncp out.txt folder/a"
    (root / "dvc.lock").write_text("<<<<<<< ours\n")
    with pytest.raises(GraphError, match=r"dvc\.lock"):
        lockfile.read(root)


def test_dvc_itself_agrees(root: Path) -> None:
    stage_run.reproduce(root, "copy")
    stage_run.reproduce(root, "fill")
    assert "copy" not in status(root)
    assert "fill" not in status(root)


def test_a_reason_names_the_value_that_changed_in_a_section(root: Path) -> None:
    (root / "params.yaml").write_text("size: 1\ntrain: {depth: 7, rate: {start: 0.1, end: 0.2}}\n")
    stage(root, "{cmd: echo > o, params: [train], outs: [o]}")
    stage_run.reproduce(root, "s")
    (root / "params.yaml").write_text("size: 1\ntrain: {depth: 8, rate: {start: 0.1}}\n")
    assert stage_run.reproduce(root, "s").reasons == (
        Change("param", "params.yaml:train.depth", "7", "8"),
        Change("param", "params.yaml:train.rate.end", "0.2", ""),
    )


def test_a_stage_that_reads_its_standard_input_reads_nothing(root: Path) -> None:
    stage(root, "{cmd: cat > o, outs: [o]}")
    read, write = os.pipe()  # never closed while the stage runs, as Airflow's socket
    before = os.dup(0)
    os.dup2(read, 0)
    try:
        assert stage_run.reproduce(root, "s").state == "ran"
    finally:
        os.dup2(before, 0)
        for file in (read, write, before):
            os.close(file)
    assert (root / "o").read_text() == ""

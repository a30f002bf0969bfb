"""Who may work with Airflow's database, and what an interrupted run leaves there."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from housing.cli.home import end_test_runs, hold, is_migrated, migrate, refuse_scheduler
from housing.errors import ConfigError, HousingError
from tests.airflow_project import DAG, Project
from tests.test_airflow_kill import SLOW, alive

ROOT = Path(__file__).parents[1]


def test_one_run_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(ConfigError, match=f"process {os.getpid()} runs"):
        hold(tmp_path).__enter__()
    with hold(tmp_path) as lock:
        assert lock.left


def test_a_run_that_ended_well_leaves_nothing(tmp_path: Path) -> None:
    with hold(tmp_path) as lock:
        assert not lock.left
        lock.note("")
    with hold(tmp_path) as lock:
        assert not lock.left


def test_a_child_that_outlives_the_run_holds_the_lock(tmp_path: Path) -> None:
    with hold(tmp_path) as lock:
        child = subprocess.Popen(["sleep", "100"], pass_fds=[lock.file.fileno()])
        lock.note(child.pid)
    with pytest.raises(ConfigError, match=f"process {child.pid} runs"):
        hold(tmp_path).__enter__()
    child.kill()
    child.wait()
    with hold(tmp_path) as lock:
        assert lock.left


def test_the_scheduler_of_make_up_refuses_a_run(tmp_path: Path) -> None:
    command = 'exec 9>>"$0/housing.lock"; flock -n 9; echo held; exec sleep 100'
    with subprocess.Popen(["bash", "-c", command, tmp_path], stdout=subprocess.PIPE) as scheduler:
        assert scheduler.stdout
        assert scheduler.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="airflow dags trigger housing_ml_pipeline"):
            hold(tmp_path).__enter__()
        scheduler.kill()


def tell(home: Path, state: str, seconds: int) -> None:
    """Writes a scheduler's last sign of life into Airflow's database."""
    beat = (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")
    with closing(sqlite3.connect(home / "airflow.db")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS job (job_type, state, latest_heartbeat)")
        database.execute("INSERT INTO job VALUES ('SchedulerJob', ?, ?)", (state, beat))


def test_another_scheduler_refuses_a_run_while_it_lives(tmp_path: Path) -> None:
    tell(tmp_path, "running", 600)
    tell(tmp_path, "success", 0)
    refuse_scheduler(tmp_path)
    tell(tmp_path, "running", 0)
    with pytest.raises(ConfigError, match="make down"):
        refuse_scheduler(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "no database at all, but long enough to be looked at" * 99]
)
def test_an_interrupted_set_up_has_no_scheduler_and_is_not_migrated(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "airflow.db").write_text(content)
    refuse_scheduler(tmp_path)
    assert not is_migrated(tmp_path)


def test_a_migration_that_fails_says_why_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho the disk is full\nexit 3\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(HousingError, match=r"exit code 3(.|\n)*the disk is full"):
        migrate(tmp_path, tmp_path / "log")
    assert not is_migrated(tmp_path)


def test_a_database_is_migrated_once_for_each_airflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    migrate(tmp_path, tmp_path / "log")
    assert not is_migrated(tmp_path), "it was removed"
    (tmp_path / "airflow.db").touch()
    assert is_migrated(tmp_path)
    (tmp_path / "housing.migrated").write_text("2.0.0")
    assert not is_migrated(tmp_path)


def states(home: Path) -> tuple[set[str], set[str]]:
    """The states of the runs, and of their tasks."""
    with closing(sqlite3.connect(home / "airflow.db")) as database:
        runs = database.execute("SELECT state FROM dag_run").fetchall()
        tasks = database.execute("SELECT state FROM task_instance").fetchall()
    return {state for (state,) in runs}, {state for (state,) in tasks}


def test_an_interrupted_run_stops_at_once_and_is_ended_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.make(tmp_path / "p", SLOW)
    root, home = project.root, project.root / ".airflow"
    (root / "dag.py").write_text(DAG.replace('DAG("tiny"', 'DAG("housing_ml_pipeline"'))
    shutil.copy(ROOT / "params.yaml", root)
    shutil.copytree(ROOT / "scripts", root / "scripts")
    # Without the environment's folder on PATH, as for who types .venv/bin/housing.
    environment = project.env() | {"PATH": "/usr/bin:/bin"}
    command = [str(Path(sys.executable).with_name("housing")), "run"]
    run = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while not (root / "pids").exists():
        assert run.poll() is None, run.communicate()[0].decode()
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    said = run.communicate()[0].decode()
    assert run.returncode == 130, said
    assert not any(alive(int(pid)) for pid in (root / "pids").read_text().split())
    assert is_migrated(home)
    assert (home / "airflow.db").stat().st_mode & 0o077 == 0

    assert states(home)[0] == {"running"}
    for name, value in project.env().items():
        monkeypatch.setenv(name, value)
    with hold(home) as lock:
        assert lock.left
        end_test_runs(root, root / "log")
    assert states(home) == ({"failed"}, {"failed"})

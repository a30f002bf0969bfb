"""Who may work with Airflow's database, and what an interrupted run leaves there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from housing.cli.home import is_migrated, migrate
from housing.errors import HousingError

ROOT = Path(__file__).parents[1]


def test_a_process_id_that_belongs_to_somebody_else_is_not_ours() -> None:
    command = ["bash", "-c", '. scripts/ours; ours "$0"']
    with subprocess.Popen(["sleep", "100"]) as other:
        assert subprocess.run([*command, str(other.pid)], cwd=ROOT, check=False).returncode == 1
        other.kill()
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as leader:
        assert subprocess.run([*command, str(leader.pid)], cwd=ROOT, check=False).returncode == 0
        leader.kill()


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


def test_a_database_of_another_airflow_is_not_migrated(tmp_path: Path) -> None:
    (tmp_path / "housing.migrated").write_text("2.0.0")
    assert not is_migrated(tmp_path)

"""Who may work with Airflow's database, and what an interrupted run leaves there."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_process_id_that_belongs_to_somebody_else_is_not_ours() -> None:
    command = ["bash", "-c", '. scripts/ours; ours "$0"']
    with subprocess.Popen(["sleep", "100"]) as other:
        assert subprocess.run([*command, str(other.pid)], cwd=ROOT, check=False).returncode == 1
        other.kill()
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as leader:
        assert subprocess.run([*command, str(leader.pid)], cwd=ROOT, check=False).returncode == 0
        leader.kill()

"""The settings of one machine, as Airflow itself understands them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASK = """
from airflow.sdk.api import client
from airflow.sdk.configuration import conf
from airflow.sdk.execution_time import supervisor
# The longest wait before each try, half of which is what a random one takes on average.
waits = [min(2.0**n, client.API_RETRY_WAIT_MAX) for n in range(client.API_RETRIES - 1)]
print(sum(waits) / 2, supervisor.HEARTBEAT_TIMEOUT,
      conf.getint("scheduler", "orphaned_tasks_check_interval"))
"""

POOL = """
import anyio, anyio.to_thread
from airflow import settings
settings.initialize()
async def threads():
    return anyio.to_thread.current_default_thread_limiter().total_tokens
print(anyio.run(threads), settings.engine.pool.size() + settings.engine.pool._max_overflow)
"""


def settings() -> dict[str, str]:
    lines = (ROOT / "local.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_a_stage_survives_minutes_without_the_api_server_but_not_its_scheduler() -> None:
    environment = os.environ | {
        name: value for name, value in settings().items() if name.startswith("AIRFLOW__WORKERS")
    }
    environment |= {name: v for name, v in settings().items() if "ORPHANED" in name}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True
    )
    tried, silent, orphaned = map(float, done.stdout.split()[-3:])
    assert tried > 180
    assert silent > 180
    assert orphaned <= 60


def test_the_api_server_has_a_connection_for_each_of_its_threads_and_one_for_its_loop(
    tmp_path: Path,
) -> None:
    environment = os.environ | {
        name: value for name, value in settings().items() if name.startswith("AIRFLOW__DATABASE")
    }
    done = subprocess.run(
        [sys.executable, "-c", POOL],
        env=environment | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    threads, connections = map(int, done.stdout.split()[-2:])
    assert connections > threads


def test_every_preloaded_module_can_be_imported() -> None:
    modules = settings()["AIRFLOW__CORE__MP_FORKSERVER_PRELOAD"].split(",")
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    code += "\nimport sys; print(sorted({'polars', 'mlflow'} & set(sys.modules)))"
    code += "\nimport housing.mlops.registry, housing.domain.verdict"
    code += "\nprint(sorted({'numpy', 'polars', 'scipy', 'mlflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2] == "[]", "they start threads: a forked child can hang"
    assert done.stdout.splitlines()[-1] == "[]", "a run with nothing to judge imports none of them"


def test_the_schedulers_quick_sleep_is_the_default_everywhere() -> None:
    name = "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"
    default = settings()[name]
    assert f"SLEEP_quick := {default}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    compose = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
    assert f"{name}: ${{{name}:-{default}}}\n" in compose


@pytest.mark.parametrize(("choice", "sleeps"), [("calm", "0.1"), ("idle", "1")])
def test_the_schedulers_sleep_is_chosen_by_name(choice: str, sleeps: str) -> None:
    command = ["make", "--dry-run", "--print-data-base", "up", f"SCHEDULER={choice}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME := {sleeps}\n" in done.stdout


def test_a_choice_of_the_schedulers_sleep_that_there_is_not_is_refused() -> None:
    command = ["make", "--dry-run", "up", "SCHEDULER=slow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "none of quick, calm, idle: make up SCHEDULER=idle" in done.stderr

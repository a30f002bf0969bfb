"""What can be said of the stack without Docker; `make stack-test` runs it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from housing.engine import graph

ROOT = Path(__file__).resolve().parent.parent
KEPT = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())


ISOLATED = ("airflow-worker-one", "airflow-worker-two")


def _variables(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _is_kept(path: str) -> bool:
    return any(path == kept or path.startswith(f"{kept}/") for kept in KEPT)


def test_every_place_of_local_env_is_named_anew_for_the_stack() -> None:
    below_project = {k for k, v in _variables("local.env").items() if "$" in v}
    assert below_project <= set(_variables("docker/airflow.env"))


def test_the_image_holds_all_that_the_stages_read() -> None:
    stages = graph.load(ROOT).stages
    made = {out for stage in stages for out in stage.outs}
    folders = {"models", "reports/training"}  # of outs
    read = {dep for stage in stages for dep in stage.deps} - made - folders
    assert {path for path in read if not _is_kept(path)} == set()


def test_the_image_holds_no_secret_and_no_state() -> None:
    assert not any(_is_kept(path) for path in (".env", ".git/config", ".dvc/cache", "dvc.lock"))


def test_every_published_port_is_on_loopback() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def _secrets(file: Path) -> dict[str, str]:
    subprocess.run([ROOT / "scripts/secrets", file], check=True, capture_output=True)
    return _variables(str(file))


def test_secrets_are_generated_once_and_for_the_owner_only(tmp_path: Path) -> None:
    first = _secrets(tmp_path / "env")
    assert _secrets(tmp_path / "env") == first
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
    other = set(_secrets(tmp_path / "other").values())
    assert all(len(value) >= 32 and value not in other for value in first.values())


def test_a_secret_that_an_upgrade_needs_is_added_to_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("PYTHON_IMAGE=python:3.11\nAIRFLOW_DB_PASSWORD=mine\nMLFLOW_SECRET_KEY=")
    made = _secrets(file)
    assert (made["PYTHON_IMAGE"], made["AIRFLOW_DB_PASSWORD"]) == ("python:3.11", "mine")
    assert set(made) == {"PYTHON_IMAGE", *_secrets(tmp_path / "new")}
    assert len(made["MLFLOW_SECRET_KEY"]) >= 32


def test_keys_that_sign_tokens_are_as_long_as_their_hash(tmp_path: Path) -> None:
    made = _secrets(tmp_path / "env")
    assert len(made["AIRFLOW_JWT_SECRET"]) >= 64  # SHA-512, less draws a warning
    Fernet(made["AIRFLOW_FERNET_KEY"])


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    words = ("PASSWORD: ", "SECRET: ", "SECRET_KEY: ", "FERNET_KEY: ", "_AUTH: ")
    found = {word: [line for line in text.splitlines() if word in line] for word in words}
    assert all(found.values())  # a word that is in no line would prove nothing
    lines = [line for one in found.values() for line in one]
    assert all("${" in line and ":?run make secrets}" in line for line in lines)


def _asked(text: str) -> set[str]:
    return {part.split(":?")[0] for part in text.split("${")[1:] if ":?run make" in part[:60]}


def test_generated_secrets_are_those_that_compose_asks_for(tmp_path: Path) -> None:
    made = set(_secrets(tmp_path / "env"))
    assert made == _asked((ROOT / "docker-compose.yaml").read_text())
    assert os.access(ROOT / "scripts/secrets", os.X_OK)


SECRETS = {
    "postgres": {"POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "MLFLOW_DB_PASSWORD"},
    "init": {
        *("AIRFLOW_ADMIN_PASSWORD", "AIRFLOW_DB_PASSWORD"),
        *("MLFLOW_ADMIN_PASSWORD", "MLFLOW_DB_PASSWORD", "MLFLOW_TASKS_PASSWORD"),
    },
    "mlflow": {"MLFLOW_DB_PASSWORD", "MLFLOW_SECRET_KEY"},
    "airflow-api-server": {
        *("AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY"),
        *("AIRFLOW_JWT_SECRET", "AIRFLOW_SECRET_KEY"),
    },
    "airflow-scheduler": {
        *("AIRFLOW_DB_PASSWORD", "AIRFLOW_JWT_SECRET"),
        *("MLFLOW_TASKS_PASSWORD", "REDIS_PASSWORD"),
    },
    "airflow-dag-processor": {"AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY"},
    "airflow-triggerer": {"AIRFLOW_DB_PASSWORD", "AIRFLOW_FERNET_KEY"},
    "airflow-worker": {"MLFLOW_TASKS_PASSWORD", "REDIS_PASSWORD"},
    "airflow-worker-one": {"MLFLOW_TASKS_PASSWORD", "REDIS_PASSWORD"},
    "airflow-worker-two": {"MLFLOW_TASKS_PASSWORD", "REDIS_PASSWORD"},
    "maintenance": {"AIRFLOW_DB_PASSWORD"},
    "redis": {"REDIS_PASSWORD"},
    "flower": {"AIRFLOW_ADMIN_PASSWORD", "REDIS_PASSWORD"},
    "run-once": {"AIRFLOW_ADMIN_PASSWORD"},
}


def test_a_service_gets_the_secrets_that_it_needs_and_no_other() -> None:
    given = {name: _asked(str(service)) for name, service in COMPOSE["services"].items()}
    assert given == SECRETS


def test_the_databases_are_reached_by_those_with_a_password_only() -> None:
    networks = {name: set(service["networks"]) for name, service in COMPOSE["services"].items()}
    for network, key in (("database", "DB_PASSWORD"), ("broker", "REDIS_PASSWORD")):
        assert COMPOSE["networks"][network]["internal"]
        inside = {name for name, joined in networks.items() if network in joined}
        assert inside == {name for name, keys in SECRETS.items() if key in str(keys)}


def test_every_service_is_limited() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"], name
        assert service["logging"]["options"], name


def _init(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", ROOT / "docker/init.sh"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("uid", ["0", "me", "007"])
def test_stages_never_run_as_root(uid: str) -> None:
    done = _init(HOUSING_UID=uid)
    assert done.returncode == 1
    assert f"HOUSING_UID={uid}" in done.stderr
    assert "next: set HOUSING_UID in .env" in done.stderr


@pytest.mark.parametrize(
    ("executor", "profiles", "kind"),
    [
        ("CeleryExecutor", "", "shared"),
        ("LocalExecutor", "celery", "shared"),
        ("CeleryExecutor", "celeryx", "shared"),
        ("CeleryExecutor", "workers", "shared"),
        ("CeleryExecutor", "celery", "isolated"),
        ("CeleryExecutor", "celery,workers", "isolated"),
        ("LocalExecutor", "", "isolated"),
    ],
)
def test_executor_profile_and_workspaces_belong_together(
    executor: str, profiles: str, kind: str
) -> None:
    done = _init(
        AIRFLOW__CORE__EXECUTOR=executor, COMPOSE_PROFILES=profiles, HOUSING_WORKSPACE_KIND=kind
    )
    assert done.returncode == 1
    assert "next: put AIRFLOW_EXECUTOR=CeleryExecutor into .env" in done.stderr


def test_workers_of_their_own_share_no_volume_with_anybody() -> None:
    own = {name: set(COMPOSE["services"][name]["volumes"]) for name in ISOLATED}
    others = {
        volume.split(":")[0]
        for name, service in COMPOSE["services"].items()
        for volume in service.get("volumes", [])
        if name not in ISOLATED
    }
    mounted = [volume.split(":")[0] for volumes in own.values() for volume in volumes]
    assert len(mounted) == len(set(mounted)) == len(ISOLATED)
    assert not set(mounted) & others


def test_the_remotes_are_offered_to_nobody_else() -> None:
    remotes: dict[str, Any] = yaml.safe_load((ROOT / "docker/remotes/compose.yaml").read_text())
    services = remotes["services"]
    assert "ports" not in services["git"]  # it asks for no login
    assert all(port.startswith("127.0.0.1:") for port in services["s3"]["ports"])
    for name, service in services.items():
        limits = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
        assert {key: service[key] for key in limits} == limits, name


@pytest.mark.skipif(os.getuid() != 0, reason="init tries as another user")
def test_a_checkout_that_the_user_may_not_write_is_no_workspace(installed: Path) -> None:
    (installed / "workspace/.git").mkdir()
    done = _part_of_init(installed, "hand_over", uid=1234)
    assert done.returncode == 1
    assert "checkout of user 0, and HOUSING_UID=1234 may not write there" in done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The project as an image holds it, beside a workspace that it prepared."""
    (tmp_path / "housing/docker").mkdir(parents=True)
    shutil.copy(ROOT / "docker/graceful.py", tmp_path / "housing/docker")
    (tmp_path / "housing.sha256").write_text("this image\n")
    (tmp_path / "workspace/.dvc/tmp").mkdir(parents=True)
    (tmp_path / "workspace/.dvc/tmp/stack.lock").touch()
    (tmp_path / "workspace/.dvc/tmp/stack.image").write_text("this image\n")
    return tmp_path


def _service(installed: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, installed / "housing/docker/graceful.py", *command],
        env=os.environ | {"HOUSING_ROOT": str(installed / "workspace")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _part_of_init(installed: Path, call: str, uid: int = 50000) -> subprocess.CompletedProcess[str]:
    text = (ROOT / "docker/init.sh").read_text()
    functions = text[: text.index("\ncheck_settings\n")]
    return subprocess.run(
        ["bash", "-c", f"{functions}\n{call}"],
        env=os.environ
        | {
            "HOUSING_ROOT": str(installed / "workspace"),
            "HOUSING_PROJECT": str(installed / "housing"),
            "HOUSING_UID": str(uid),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def _claim(installed: Path) -> subprocess.CompletedProcess[str]:
    return _part_of_init(installed, "if claim_workspace; then echo claimed; fi")


def test_init_leaves_the_workspace_alone_while_a_scheduler_of_another_image_runs(
    installed: Path,
) -> None:
    started = installed / "started"
    with _service(installed, "sh", "-c", f"touch {started}; exec sleep 300") as service:
        while not started.exists():
            assert service.poll() is None
            time.sleep(0.05)
        same = _claim(installed)
        assert (same.returncode, same.stdout) == (0, "")  # nothing to prepare: it goes on
        (installed / "housing.sha256").write_text("the next image\n")
        other = _claim(installed)
        assert other.returncode == 1
        assert "next: make stack-down" in other.stderr
        # Nor does a stage lose its files to another user.
        moved = _part_of_init(installed, "hand_over", uid=os.getuid() + 1)
        assert moved.returncode == 1
        assert f"of user {os.getuid()} still runs" in moved.stderr
        service.terminate()
    assert _claim(installed).stdout == "claimed\n"


def test_a_scheduler_does_not_run_code_that_another_image_brought(installed: Path) -> None:
    (installed / "workspace/.dvc/tmp/stack.image").write_text("the next image\n")
    with _service(installed, "touch", str(installed / "ran")) as service:
        assert service.stderr is not None
        assert "next: make stack-down" in service.stderr.read()
    assert service.returncode == 1
    assert not (installed / "ran").exists()


TASK = """
import pathlib, sys, time
from setproctitle import setproctitle
setproctitle("airflow worker -- 01a214bf-8971-7c94-a898-8eb987d5b1ba")
pathlib.Path(sys.argv[1]).touch()
time.sleep(300)
"""
"""Looks like a running task of Airflow."""


def test_a_stop_ends_the_tasks_of_the_service_and_nobody_elses(installed: Path) -> None:
    ours, other = installed / "ours", installed / "other"
    somebody = subprocess.Popen([sys.executable, "-c", TASK, other])
    # Like Airflow's scheduler, it answers SIGTERM by waiting for its task.
    waits = f"trap : TERM; {sys.executable} -c '{TASK}' {ours} & while kill -0 $!; do wait; done"
    with somebody, _service(installed, "bash", "-c", waits) as service:
        while not (ours.exists() and other.exists()):
            assert service.poll() is None
            time.sleep(0.05)
        service.terminate()
        assert service.wait(timeout=60) == 0
        assert somebody.poll() is None
        somebody.kill()


def test_a_service_that_lost_the_signal_gets_it_again(installed: Path) -> None:
    """It would start its tasks again and again, until no try is left."""
    task = f"{sys.executable} -c '{TASK}' {installed / 'began'}"
    deaf = f"trap 'n=x$n' TERM; while [ \"$n\" != xx ]; do {task} & wait; wait; done"
    with _service(installed, "bash", "-c", deaf) as service:
        while not (installed / "began").exists():
            assert service.poll() is None
            time.sleep(0.05)
        service.terminate()
        try:
            assert service.wait(timeout=60) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(service.pid, signal.SIGKILL)


def test_a_worker_with_workspaces_of_its_own_has_no_lock_to_wait_for(installed: Path) -> None:
    shutil.rmtree(installed / "workspace")
    done = subprocess.run(
        [sys.executable, installed / "housing/docker/graceful.py", "true"],
        env=os.environ | {"HOUSING_WORKSPACES": str(installed / "workspaces")},
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    "given", ["airflow jobs check", "jobs check", "bash -c 'airflow jobs check'"]
)
def test_the_entrypoint_is_the_one_that_airflows_chart_calls(tmp_path: Path, given: str) -> None:
    airflow = tmp_path / "airflow"
    airflow.write_text('#!/bin/sh\necho "airflow $*"\n')
    airflow.chmod(0o755)
    done = subprocess.run(
        [ROOT / "docker/entrypoint.sh", *shlex.split(given)],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "airflow jobs check\n"


def test_old_logs_are_removed_and_a_folder_that_waits_for_its_first_stays(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / "run/new").mkdir(parents=True)
    (logs / "run/old").mkdir()
    for name, days in {"a.log": 20, "b.log": 14}.items():
        (logs / name).touch()
        os.utime(logs / name, (time.time() - days * 86400,) * 2)
    os.utime(logs / "run/old", (time.time() - 7200,) * 2)
    home = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(tmp_path)}
    subprocess.run(["bash", ROOT / "docker/clean_logs.sh", "once"], env=home, check=True)
    left = {path.relative_to(logs).as_posix() for path in logs.rglob("*")}
    assert left == {"b.log", "run", "run/new"}


def test_the_bucket_comes_with_no_key_and_gives_it_to_no_service_without_need() -> None:
    bucket: dict[str, Any] = yaml.safe_load((ROOT / "docker/s3/compose.yaml").read_text())
    assert set(bucket["x-account"].values()) == {None}
    with_account = {name for name, one in bucket["services"].items() if "AWS" in str(one)}
    assert with_account < COMPOSE["services"].keys() - {"init", "postgres", "redis", "flower"}

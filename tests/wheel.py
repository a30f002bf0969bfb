"""Proves the engine as another team gets it: ``make wheel-test [AIRFLOW=3.1]``, not part of pytest.

Builds the wheel, installs it into an empty environment beside that version of Airflow, and runs
another team's pipeline from it: each kind of run in a process of its own, then by a real scheduler.
The engine's own tests run there. At last the wheel goes, and a copy of ``housing/engine`` alone
does each kind of run.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests import foreign

ROOT = Path(__file__).parents[1]
UV = str(ROOT / "scripts/uv")
HOUSES = re.compile(r"(mlflow.*|pandas|polars.*|pyarrow|scipy|xgboost.*)==")
TESTING = (
    "apache-airflow-providers-openlineage",
    "hypothesis",
    "kubernetes",
    "pytest",
    "pytest-xdist",
)
RELEASED = {"3.1": "2026-03-13", "3.2": "2026-05-31"}
"""Up to which day the packages beside an older Airflow are taken, as its constraints file has them:
Airflow 3.2 starts no task beside the newest FastAPI and Cadwyn."""
PATIENCE = 600.0
"""Seconds to wait for Airflow, or for a run of it."""


def say(text: str) -> None:
    sys.stdout.write(f"-- {text}\n")
    sys.stdout.flush()


def install(folder: Path, airflow: str) -> Path:
    """Builds the wheel, and installs it into an empty environment or beside an older Airflow.

    Args:
        folder: Where to put both.
        airflow: The version of Airflow, ``3.1`` or ``3.1.8``; "" for the newest one.

    Returns:
        The interpreter of the environment.
    """
    uv("build", "--quiet", "--out-dir", str(folder / "dist"))
    (wheel,) = (folder / "dist").glob("*.whl")
    uv("venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
    python = folder / "venv/bin/python"
    # Compiled, as by pip: a task of an Airflow that compiles itself meanwhile may take too long.
    pip = partial(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python))
    pinned = f"apache-airflow=={airflow}{'.*' if airflow.count('.') == 1 else ''}"
    day = RELEASED.get(".".join(airflow.split(".")[:2]))
    if day:
        pip(pinned, "--exclude-newer", day)
    pip(str(wheel), *([pinned] if airflow else []))
    packages = uv("pip", "freeze", "--python", str(python)).splitlines()
    assert not [name for name in packages if HOUSES.match(name)], packages
    (version,) = (name for name in packages if name.startswith("apache-airflow=="))
    size = subprocess.run(
        ["du", "-sm", folder / "venv"], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    say(f"{version}: {len(packages)} packages, {size} MB, none of them the houses'")
    return python


def uv(*arguments: str) -> str:
    # Of the environment that it runs in itself, it must know nothing.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_")}
    done = subprocess.run(
        [UV, *arguments], cwd=ROOT, env=outside, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def run_each_kind(python: Path, home: Path) -> None:
    """Runs every step in one process, and compares the states of the tasks."""
    dag_file = foreign.make_churn(home / "churn")
    results = foreign.run_steps(
        python, dag_file, list(foreign.STEPS), foreign.environment(dag_file)
    )
    for name, result in results.items():
        found = foreign.states(result)
        say(f"{name}: {', '.join(found)}")
        assert found == foreign.STATES[name], name


def run_by_a_scheduler(python: Path, home: Path) -> None:
    """Runs the DAG twice by the scheduler of ``airflow standalone``, cold and unchanged."""
    dag_file = foreign.make_churn(home / "churn")
    port = free_port()
    env = foreign.environment(
        dag_file,
        PATH=f"{python.parent}:{os.environ['PATH']}",
        AIRFLOW__API__HOST="127.0.0.1",
        AIRFLOW__API__PORT=str(port),
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"http://127.0.0.1:{port}/execution/",
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
        # A machine that runs this may have more to do.
        AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT="120",
        AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT="180",
        AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="5",
        AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT="60",
        AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(free_port()),
        AIRFLOW__TRIGGERER__TRIGGERER_LOG_SERVER_PORT=str(free_port()),
    )
    with standalone(python, home, env):
        until(lambda: "churn" in airflow(python, env, "dags", "list"), "Airflow has the DAG")
        for name in ("cold", "unchanged"):
            airflow(python, env, "dags", "trigger", "churn", "--run-id", name)
            until(partial(is_over, python, env, name), f"the run {name} ends")
            rows = airflow(python, env, "tasks", "states-for-dag-run", "churn", name, "-o", "json")
            by_task = {row["task_id"]: row["state"] for row in json.loads(rows)}
            found = tuple(by_task[task] for task in ("prepare", "train.a", "train.b", "evaluate"))
            say(f"by a scheduler, {name}: {', '.join(found)}")
            assert found == foreign.STATES[name], name


def is_over(python: Path, env: Mapping[str, str], run_id: str) -> bool:
    runs = json.loads(airflow(python, env, "dags", "list-runs", "churn", "-o", "json"))
    return any(run["run_id"] == run_id and run["state"] in {"success", "failed"} for run in runs)


def airflow(python: Path, env: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [python.with_name("airflow"), *arguments],
        env=dict(env),
        cwd=env["AIRFLOW_HOME"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    table = [line for line in lines if line.startswith("[{")]  # logs may stand before it
    return table[-1] if "-o" in arguments and table else done.stdout


@contextmanager
def standalone(python: Path, home: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Airflow with all its services, until the end."""
    Path(env["AIRFLOW_HOME"]).mkdir()
    with (home / "standalone.log").open("w") as log:
        process = subprocess.Popen(
            [python.with_name("airflow"), "standalone"],
            env=dict(env),
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    except BaseException:
        for path in sorted(Path(env["AIRFLOW_HOME"]).glob("logs/dag_id=*/**/*.log")):
            say(f"{path.relative_to(env['AIRFLOW_HOME'])}\n{path.read_text()[-4000:]}")
        say(f"standalone\n{(home / 'standalone.log').read_text()[-4000:]}")
        raise
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):  # a service that outlives it
            os.killpg(process.pid, signal.SIGKILL)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def run_tests(python: Path, home: Path) -> None:
    """Runs the engine's own tests against the wheel, from a folder that has nothing but tests."""
    files = sorted(path.name for path in (ROOT / "tests").glob("test_*.py") if is_engines(path))
    say(f"{len(files)} files of tests: {', '.join(files)}")
    shutil.copytree(ROOT / "tests", home / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    uv("pip", "install", "--quiet", "--python", str(python), *TESTING)
    options = ["-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
    command = [str(python), "-m", "pytest", *options, *(f"tests/{name}" for name in files)]
    subprocess.run(command, cwd=home, check=True)


def run_engine_alone(python: Path, home: Path) -> None:
    """Runs every kind of run with nothing of the package but a copy of the engine's folder."""
    uv("pip", "uninstall", "--quiet", "--python", str(python), "housing")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    copy = Path(packages.stdout.strip()) / "housing/engine"
    shutil.copytree(ROOT / "housing/engine", copy, ignore=shutil.ignore_patterns("__pycache__"))
    run_each_kind(python, home)


def is_engines(path: Path) -> bool:
    """Whether a file tests the Airflow side of the engine, and needs nothing of the checkout."""
    text = path.read_text(encoding="utf-8")
    imported = {
        node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)
    }
    ours = {name for name in imported if name.split(".")[0] in {"housing", "tests"}}
    helpers = ("housing.engine", "tests.conftest", "tests.repository")
    return (
        (any("airflow" in name for name in imported) or "import Dvc" in text)
        and any(name.startswith("housing.engine") for name in ours)
        and all(name == "housing" or name.startswith(helpers) for name in ours)
        and "parents[1]" not in text
    )


def main(airflow_version: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="wheel-"))
    try:
        python = install(folder, airflow_version)
        for name, prove in (
            ("each", run_each_kind),
            ("scheduler", run_by_a_scheduler),
            ("tests", run_tests),
            ("alone", run_engine_alone),
        ):
            (folder / name).mkdir()
            prove(python, folder / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say("all well")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings

from tests.repository import make_repository

# No test is about time. Examples are the same in each run: a red run can be looked at again.
settings.register_profile("housing", deadline=None, derandomize=True)
settings.load_profile("housing")

# `make test` comes with local.env, whose places are the project's own: no test may touch those.
for name in [n for n in os.environ if n.startswith(("AIRFLOW", "DVC_", "HOUSING_", "MLFLOW_"))]:
    del os.environ[name]
# `uv run` leaves a mark by which hints know how their commands are typed: tests set it themselves.
os.environ.pop("UV", None)
# Importing Airflow writes its configuration; without this, into the home folder of the user.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
# MLflow's client would wait for long where a test takes the server away.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# More workers than processors: threads of a library would wait for each other, and burn time at it.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# The tests start hundreds of processes: the project's own modules are compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

LONGEST = {
    "test_cli_up",
    "test_gate_failures",
    "test_registry",
    "test_smoke",
    "test_stages_model",
    "test_tracking",
    "test_wheel",
}

# The engine's own tests also run where the extra `houses` is not installed: `make wheel-test`.
pytest_plugins = ["tests.kept_models", "tests.mlflow_server"] if find_spec("mlflow") else []


@pytest.hookimpl(optionalhook=True)  # so that pytest runs without xdist, too
def pytest_xdist_auto_num_workers() -> int:
    """Two workers for each core: many tests wait for a process that they started."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files first that take longest: at the end, the other workers would wait for them."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(autouse=True)
def _own_store() -> Iterator[None]:
    """Takes away what MLflow's client notes in the environment: the store that it spoke to last.

    Before the test too: fixtures of a whole file speak to a store before this one runs.
    """
    _forget_stores()
    yield
    _forget_stores()


def _forget_stores() -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING_")]:
        del os.environ[name]


class MakeRepo(Protocol):
    def __call__(self, files: dict[str, str]) -> Path: ...


@pytest.fixture
def make_repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRepo:
    """Makes a git and DVC repository of these files, with DVC's state beside it."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))

    def make(files: dict[str, str]) -> Path:
        root = tmp_path / "repo"
        make_repository(root)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return make

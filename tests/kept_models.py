"""The processes of logged models are kept for the next use: starting one takes seconds of a core.

This holds for the code that runs in pytest's own process. That a use starts a process of its own,
and ends it, is tested in tests/test_served.py; real Airflow runs and commands do so too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import pytest

from housing.mlops.tracking.digest import compare
from housing.mlops.tracking.worker import Worker

Files = frozenset[tuple[str, str]]


class KeptModels:
    """Processes of models, by the hashes of the files that they were started from."""

    def __init__(self) -> None:
        self._workers: dict[Files, Worker] = {}
        self._lock = RLock()

    @contextmanager
    def open(self, bundle: Path) -> Iterator[Worker]:
        """Lends the process of a model with exactly these files; starts it where none is alive."""
        files = frozenset(compare(bundle, "")[0].items())
        with self._lock:
            worker = self._workers.get(files)
            if worker and worker._process.poll() is not None:
                worker.__exit__(None, None, None)
                worker = None
            if worker is None:
                worker = self._workers[files] = Worker(bundle).__enter__()
            yield worker

    def close(self) -> None:
        for worker in self._workers.values():
            worker.__exit__(None, None, None)


@pytest.fixture(scope="session", autouse=True)
def _kept_models() -> Iterator[None]:
    models = KeptModels()
    with pytest.MonkeyPatch.context() as patch:
        for user in ("run_artifacts", "download"):
            patch.setattr(f"housing.mlops.registry.{user}.Worker", models.open)
        yield
    models.close()

"""The approaches side by side: new data, then a changed parameter, then nothing new.

All run on one clone of this repository, through one real scheduler, in turn; each repeat of each
approach gets data and parameters that no other had, so that no cache knows them. Beside them plain
`dvc repro`, which neither judges nor promotes.

Usage: ``make bench``, or
``UV_ENV_FILE=local.env uv run python benchmarks/compare_days.py [REPEATS]``
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measured import Samples, Table, keep
from real_airflow import ROOT, Airflow, airflow, mlflow

APPROACHES = {
    "A1 scripts": "approach_1_scripts",
    "A2 one task": "approach_2_one_task",
    "A3 one task, told": "approach_3_one_task_told",
    "A4 shell": "approach_4_shell",
    "A5 this project": "housing_ml_pipeline",
}
PLAIN = "dvc repro"
DAYS = ("day 1", "day 2", "day 3")
GONE = 100
"""Rows that a day of new data lacks."""
GATE = {"validate_model", "promote_to_staging"}
"""The tasks after which the model is judged, and promoted where it passed: the same in each DAG."""
MARGIN = 5_000
"""Dollars by which a refresh may be worse, in place of the project's own limit."""


def make(root: Path) -> None:
    """Clones this repository, with the DAGs of all approaches and without those that follow."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
    for file in (root / "dags").glob("*.py"):
        if file.stem not in APPROACHES.values():
            file.unlink()
    for file in (root / "benchmarks" / "approaches").glob("*.py"):
        shutil.copy(file, root / "dags")


class Project:
    """The clone, in which each day brings something that was never there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._delivery = root / "data" / "landing" / "california_housing.csv"
        self._rows = self._delivery.read_text(encoding="utf-8").splitlines(keepends=True)
        # The gate rejects one refresh in seven by chance, which takes longer than a promotion.
        self._params = re.sub(
            r"(\n  max_regression: )\S+",
            rf"\g<1>{MARGIN}",
            (root / "params.yaml").read_text(encoding="utf-8"),
        )
        self._turn = 0

    def begin(self, day: str) -> None:
        """Day 1 takes rows away, day 2 changes a learning rate, day 3 changes nothing."""
        if day == DAYS[0]:
            self._turn += 1
            (self.root / "params.yaml").write_text(self._params, encoding="utf-8")
            # So many that some are of each side of the split: else no training is out of date.
            gone = slice(1 + GONE * self._turn, 1 + GONE * (self._turn + 1))
            rows = [*self._rows[: gone.start], *self._rows[gone.stop :]]
            self._delivery.write_text("".join(rows), encoding="utf-8")
        if day == DAYS[1]:
            rate = rf"\g<1>{0.1 + self._turn / 10_000:.4f}"
            text = re.sub(
                r"(\n  xgboost:\n(?:    .*\n)*?    learning_rate: )\S+", rate, self._params
            )
            (self.root / "params.yaml").write_text(text, encoding="utf-8")

    def reproduce(self) -> None:
        """What a developer types."""
        subprocess.run(["dvc", "repro", "--quiet"], cwd=self.root, check=True)


def turn(project: Project, services: Airflow, table: Table, judged: Table) -> None:
    """Runs each approach once on each day."""
    for name in (*APPROACHES, PLAIN):
        for day in DAYS:
            project.begin(day)
            samples = table.setdefault(f"{name}, {day}", Samples())
            if name == PLAIN:
                samples.take(project.reproduce)
                continue
            samples.take(partial(services.seconds, APPROACHES[name]))
            until = judged.setdefault(f"{name}, {day}", Samples())
            until.seconds.append(services.seconds_until(APPROACHES[name], GATE))


def main(repeats: int) -> None:
    """Measures, and keeps what it found."""
    table: Table = {}
    judged: Table = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        make(root)
        with mlflow(root), airflow(root, set(APPROACHES.values())) as services:
            for dag in APPROACHES.values():  # MLflow's store, and the workers of the executor
                services.seconds(dag)
            project = Project(root)
            for _ in range(repeats):
                turn(project, services, table, judged)
                keep("judged", judged)
                keep("days", table)  # a turn takes ten minutes: an interruption loses one at most


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

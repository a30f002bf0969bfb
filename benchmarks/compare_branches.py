"""The approaches side by side: eight heavy stages that do not depend on each other.

Each computes for some seconds on one processor. Through one real scheduler, in turn; beside them
`dvc repro`, and paraffin, a public tool that runs DVC's stages side by side, with two of its jobs.
dask4dvc, another one, wants DVC 2, which cannot read the locks of DVC 3.

Usage: ``make bench``, or
``UV_ENV_FILE=local.env uv run python benchmarks/compare_branches.py [REPEATS]``
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from measured import Samples, Table, keep
from real_airflow import ROOT, airflow, make_project

BRANCHES = 8
WORK = "s = sum(i * i for i in range(20_000_000))"
DAGS = {"A2 one task": "one_task", "A4 shell": "shell", "A5 this project": "group"}
DAG_FILE = f"""
from datetime import UTC, datetime
from pathlib import Path
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from housing.engine import DvcTaskGroup

root = str(Path(__file__).parent.parent)
start = datetime(2026, 1, 1, tzinfo=UTC)
with DAG("one_task", schedule=None, start_date=start):
    BashOperator(task_id="dvc_repro", bash_command="dvc repro", cwd=root, append_env=True)
with DAG("shell", schedule=None, start_date=start):
    for n in range({BRANCHES}):
        BashOperator(
            task_id=f"s{{n}}", cwd=root, append_env=True,
            bash_command=f"dvc --wait-for-lock repro --single-item s{{n}}",
        )
with DAG("group", schedule=None, start_date=start):
    DvcTaskGroup("stages", root=root)
"""
PLAIN = "dvc repro"
PARAFFIN = "paraffin"
# The newest release writes its times without a time zone, which a newer sqlmodel refuses.
PACKAGES = ("paraffin==0.3.7", "sqlmodel<0.0.25", f"dvc=={version('dvc')}")


def install_paraffin(folder: Path) -> dict[str, str]:
    """Installs paraffin into an environment of its own; the environment to run it in."""
    uv = str(ROOT / "scripts/uv")
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    subprocess.run([*command, *PACKAGES], check=True)
    return {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}


def make(root: Path) -> None:
    """Makes the project."""
    stages = {
        f"s{n}": {"cmd": f"python work.py {n}", "deps": ["in", "work.py"], "outs": [str(n)]}
        for n in range(BRANCHES)
    }
    make_project(root, stages, DAG_FILE)
    (root / "work.py").write_text(f"import sys\n{WORK}\nopen(sys.argv[1], 'w').write(str(s))\n")
    # paraffin wants a commit.
    git = ["git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@example.com"]
    for command in (["add", "--all"], ["commit", "--quiet", "--message", "Make the project"]):
        subprocess.run([*git, *command], cwd=root, check=True)


def main(repeats: int) -> None:
    """Measures, and keeps what it found; every run ends with a clean ``dvc status``."""
    table: Table = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        make(root)

        def plain() -> None:
            subprocess.run(["dvc", "repro", "--quiet"], cwd=root, check=True)

        env = install_paraffin(Path(folder) / "paraffin")

        def paraffin() -> None:
            for command in ("paraffin submit", "paraffin worker --jobs 2"):
                subprocess.run(
                    command.split(), cwd=root, env=env, check=True, stdout=subprocess.DEVNULL
                )

        with airflow(root, set(DAGS.values())) as services:
            runs: dict[str, Callable[[], float | None]] = {
                name: partial(services.seconds, dag) for name, dag in DAGS.items()
            }
            runs[PLAIN] = plain
            runs[PARAFFIN] = paraffin
            for number in range(repeats + 1):
                for name, run in runs.items():
                    (root / "in").write_text(f"{number} {name}\n")
                    table.setdefault(name, Samples()).take(run)
                    subprocess.run(["dvc", "status", "--quiet"], cwd=root, check=True)
    keep("branches", {name: samples.warm() for name, samples in table.items()})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

"""16 independent stages of 2 s, all started at once in one workspace: three ways to run them.

Prints for each way how long all of them took, as a multiple of one stage, how many failed, and
how many commands ran at the same time. A round is only good where ``dvc status`` is clean after
it and ``dvc.lock`` has every entry.

Usage: python benchmarks/parallel_stages.py [ROUNDS] [WAY...]
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from housing.engine import graph
from housing.engine.execution import lockfile, stage_run

STAGES = 16
SECONDS = 2.0
DVC = str(Path(sys.executable).with_name("dvc"))


def make(root: Path) -> list[str]:
    """Makes the workspace; the names of its stages."""
    lines = ["stages:"]
    for name in (f"s{at}" for at in range(STAGES)):
        cmd = f"date +%s.%N > {name}.t; sleep {SECONDS}; cp in {name}; date +%s.%N >> {name}.t"
        lines.append(f"  {name}: {{cmd: '{cmd}', deps: [in], outs: [{name}]}}")
    (root / "dvc.yaml").write_text("\n".join(lines), encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([DVC, "init", "-q"], cwd=root, check=True)
    return [stage.name for stage in graph.load(root).stages]


def shell(*arguments: str) -> Callable[[Path, str], int]:
    """One ``dvc`` process a stage."""

    def start(root: Path, stage: str) -> int:
        command = [DVC, *arguments, stage]
        null = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=root, stdout=null, stderr=null).pid

    return start


def ours(root: Path, stage: str) -> int:
    """A fork of this warm process a stage, as Airflow's executor and the operator do it."""
    pid = os.fork()
    if pid:
        return pid
    gc.freeze()
    code = 1
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            code = 0 if stage_run.reproduce(root, stage).state == "ran" else 2
    finally:
        os._exit(code)


WAYS = {
    "dvc repro -s": shell("repro", "--single-item"),
    "dvc --wait-for-lock repro -s": shell("--wait-for-lock", "repro", "--single-item"),
    "housing.engine.execution": ours,
}


def measure(root: Path, names: list[str], start: Callable[[Path, str], int]) -> tuple[float, int]:
    """Runs every stage anew at once; seconds, and how many failed."""
    (root / "in").write_text(f"{time.time_ns()}\n", encoding="utf-8")
    began = time.perf_counter()
    pids = [start(root, name) for name in names]
    failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
    return time.perf_counter() - began, failed


def together(root: Path) -> int:
    """The most commands that ran at the same time."""
    spans = [[float(moment) for moment in path.read_text().split()] for path in root.glob("*.t")]
    whole = [span for span in spans if len(span) == len(("began", "ended"))]
    return max(sum(a <= at < b for a, b in whole) for at, _ in whole)


def is_clean(root: Path, names: list[str]) -> bool:
    """Whether DVC finds nothing to do, and every stage has its entry."""
    said = subprocess.run([DVC, "status"], cwd=root, capture_output=True, text=True, check=True)
    return "up to date" in said.stdout and set(lockfile.read(root)) == set(names)


def main(rounds: int, ways: list[str]) -> None:
    """Prints a line a round, and the sum of each way."""
    logging.disable(logging.INFO)
    for way in ways:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            names = make(root)
            failures, unclean, longest = 0, 0, 0.0
            for at in range(rounds):
                seconds, failed = measure(root, names, WAYS[way])
                clean = failed or is_clean(root, names)
                failures, unclean = failures + failed, unclean + (not clean)
                longest = max(longest, seconds)
                print(
                    f"{way}, round {at + 1}: {seconds / SECONDS:.2f} x one stage, {failed} failed,"
                    f" {together(root)} at once",
                    flush=True,
                )
            print(
                f"{way}: {rounds} rounds, {failures} of {rounds * STAGES} failed,"
                f" {unclean} rounds not clean, at worst {longest / SECONDS:.2f} x one stage"
            )


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["1"])[0]), sys.argv[2:] or list(WAYS))

"""What each stage costs as the data grows: processor seconds and peak memory, per row.

The delivery is California's, drawn with replacement by a fixed seed. Each drawn row is moved by
some 2 km on the map and its other numbers by some 2 %, within the limits of the schema, so that no
two rows are equal and prices keep what they depend on. Every stage's command runs alone, without
DVC: hashing is DVC's own cost and no part of this. Quick ones run several times and give a median,
for what a processor does in a second changes within minutes where others share it.

Usage: ``make bench``, or
``UV_ENV_FILE=local.env uv run python benchmarks/growth.py [ROWS ...] [--until STAGE]``, by default
20,000 and 200,000 rows and all stages.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from measured import Cost, keep
from real_airflow import ROOT

from housing.engine import graph

SIZES = (20_000, 200_000)
MOVED = 0.02
"""Standard deviation: degrees on the map, and the share of every other number."""
PART = 1_000_000
"""Rows that are drawn at once."""
QUICK = 60.0
"""Processor seconds: a command that takes less runs `REPEATS` times."""
REPEATS = 3


def resample(source: pl.DataFrame, rows: int, target: Path) -> None:
    """Writes a delivery of so many rows.

    Args:
        source: California's delivery.
        rows: Rows to write.
        target: A CSV file.
    """
    rng = np.random.default_rng(1)
    columns = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["data"]["columns"]
    with target.open("wb") as file:
        for begin in range(0, rows, PART):
            drawn = source.sample(
                min(PART, rows - begin), with_replacement=True, seed=int(rng.integers(2**32))
            )
            noise = {name: rng.normal(0, MOVED, drawn.height) for name in drawn.columns}
            moved = [
                (
                    pl.col(name) + shift
                    if rule.get("role") in {"latitude", "longitude"}
                    else pl.col(name) * (1 + shift)
                )
                .clip(rule["min"], rule["max"])
                .round(6)
                .alias(name)
                for name, rule in columns.items()
                for shift in [pl.Series(noise[name])]
            ]
            drawn.select(moved).write_csv(file, include_header=begin == 0)


def cost_of(command: str, root: Path) -> Cost:
    """Runs a stage's command, a quick one several times.

    Returns:
        The median of the processor seconds, and the largest memory.
    """
    costs = [run_command(command, root)]
    if costs[0].cpu_seconds < QUICK:
        costs += [run_command(command, root) for _ in range(1, REPEATS)]
    return Cost(
        cpu_seconds=statistics.median(cost.cpu_seconds for cost in costs),
        peak_gigabytes=max(cost.peak_gigabytes for cost in costs),
    )


def run_command(command: str, root: Path) -> Cost:
    """Runs a stage's command.

    Raises:
        SystemExit: It failed.
    """
    process = subprocess.Popen(
        shlex.split(command), cwd=root, env={**os.environ, "HOUSING_ROOT": str(root)}
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return Cost(
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_gigabytes=usage.ru_maxrss * 1024 / 1e9,
    )


def main(sizes: list[int], until: str) -> None:
    """Measures each size in a clone of its own, and keeps what it found.

    Args:
        sizes: Rows of the deliveries.
        until: Name of the last stage to run.
    """
    source = pl.read_csv(ROOT / "data" / "landing" / "california_housing.csv")
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "p"
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
            resample(source, rows, root / "data" / "landing" / "california_housing.csv")
            stages = graph.load(root)
            costs = {}
            for node in stages.stages[: stages.names.index(until) + 1]:
                for out in node.outs:
                    (root / out).parent.mkdir(parents=True, exist_ok=True)
                costs[node.name] = cost_of(node.cmd[0], root)
                print(f"{rows:,} rows, {node.name}: {costs[node.name]}", flush=True)
            keep(f"growth {rows}", costs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=int, default=list(SIZES))
    # track_model records what DVC hashed, so it needs DVC; it reads no row.
    parser.add_argument("--until", default="evaluate_model")
    given = parser.parse_args()
    main(given.rows, given.until)

"""How fast a file of houses is priced, end to end, and in how much memory.

    uv run dvc repro
    uv run python benchmarks/scoring.py

Each size runs in a process of its own, which reads the Parquet file, checks every row, makes the
features, prices it on all cores, and writes predictions. The model is logged as the pipeline logs
it, and runs in a process of its own; its start (``start``, seconds) counts. ``model alone`` is the
rate of the bare model on features that lie in memory: the rest of the path costs what lies between
the two rates. ``of work`` is the bare model's share in the processor time of the whole path, which
depends less on what else the machine does. The peak memory is that of both processes. ``one row``
is what a single one takes, features and price, in milliseconds where all is loaded (median).
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from housing.domain.config import load_params
from housing.domain.features import Transform
from housing.domain.model import Model
from housing.domain.scoring import ServedModel, score
from housing.mlops.tracking.bundle import read_columns, write_bundle
from housing.mlops.tracking.result import TRANSFORM, read_result
from housing.mlops.tracking.worker import OWN, Worker

ROOT = Path(__file__).parent.parent
CHUNK = 500_000
MODEL_ROWS = 200_000
SINGLES = 2000
PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def log_model(bundle: Path) -> None:
    """Writes the chosen candidate of the workspace as the pipeline logs it."""
    write_bundle(bundle, load_params(ROOT / "params.yaml"), read_result(ROOT), None, None)


def write_houses(path: Path, rows: int) -> None:
    """Writes a file of houses like the ones delivered, no two the same."""
    columns = load_params(ROOT / "params.yaml").data.inputs
    houses = pl.read_csv(ROOT / "data/landing/california_housing.csv").select(columns)
    random = np.random.default_rng(0)
    with pq.ParquetWriter(path, houses.to_arrow().schema) as writer:
        for start in range(0, rows, CHUNK):
            size = min(CHUNK, rows - start)
            chunk = houses[random.integers(houses.height, size=size)]
            noise = pl.Series(random.uniform(0.999, 1.0, size))
            writer.write_table(chunk.with_columns(pl.all() * noise).to_arrow())


def measure(path: Path) -> None:
    """Prices one file in this process, and prints its rates and its peak memory."""
    bundle = path.with_name("bundle")
    model = ServedModel("workspace", "0", read_columns(bundle), partial(Worker, bundle))
    outputs = path.with_name("predictions.parquet"), path.with_name("quarantine.parquet")
    before = processor_seconds()
    scores = score(path, *outputs, model)
    work = processor_seconds() - before
    peak = sum(resource.getrusage(process).ru_maxrss for process in PROCESSES) / 1024
    houses = pl.read_parquet(path, n_rows=MODEL_ROWS)
    start = time.perf_counter()
    with Worker(bundle) as worker:
        worker.price(houses.head(1))
        began = time.perf_counter() - start
    transform = Transform.load(ROOT / TRANSFORM)
    features = transform.matrix(houses)
    bare = Model.load(ROOT / read_result(ROOT).model)
    before, start = processor_seconds(), time.perf_counter()
    bare.predict(features)
    alone = len(features) / (time.perf_counter() - start)
    needed = (processor_seconds() - before) / len(features) * scores.rows
    rate = scores.rows / scores.seconds
    one = statistics.median(
        timeit.repeat(
            lambda: bare.predict(transform.matrix(houses.head(1))),
            repeat=SINGLES,
            number=1,
        )
    )
    print(
        f"{scores.rows:>12,} {scores.seconds:>9.1f} {began:>7.1f} {rate:>11,.0f} {alone:>13,.0f} "
        f"{rate / alone:>6.2f} {needed / work:>8.2f} {peak:>9,.0f} {one * 1000:>8.1f}"
    )


def processor_seconds() -> float:
    """What this process and the ended ones that it started have worked so far, on all cores."""
    used = [resource.getrusage(process) for process in PROCESSES]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    """Runs every size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        measure(arguments.file)
        return
    print(
        "        rows   seconds   start      rows/s   model alone  ratio  of work   peak MB"
        "  one row",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        log_model(Path(folder) / "bundle")
        for rows in arguments.rows:
            path = Path(folder) / f"{rows}.parquet"
            write_houses(path, rows)
            command = [sys.executable, __file__, "--file", str(path)]
            subprocess.run(command, check=True, env=os.environ | OWN)


if __name__ == "__main__":
    main()

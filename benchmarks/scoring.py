"""How fast a file of houses is priced, end to end, and in how much memory.

    uv run dvc repro evaluate_model
    uv run python benchmarks/scoring.py

Each size runs in a process of its own, which reads the Parquet file, checks every row, makes the
features, prices it on all cores, and writes predictions. ``model alone`` is the rate of the bare
model on features that lie in memory: the rest of the path costs what lies between the two rates.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from housing.domain.config import load_params
from housing.domain.scoring import ServedModel, score

ROOT = Path(__file__).parent.parent
CHUNK = 500_000
MODEL_ROWS = 200_000


def served() -> ServedModel:
    """The chosen candidate of the workspace, as the registry would serve it."""
    report = ROOT / "reports/evaluation_report.json"
    return ServedModel.read(
        "workspace",
        "0",
        ROOT / "models/xgboost.ubj",
        ROOT / "data/features/transform.json",
        report,
    )


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
    params, model = load_params(ROOT / "params.yaml"), served()
    columns = {name: params.data.columns[name] for name in params.data.inputs}
    outputs = path.with_name("predictions.parquet"), path.with_name("quarantine.parquet")
    scores = score(path, *outputs, model, columns)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    houses = pl.read_parquet(path, n_rows=MODEL_ROWS)
    features = model.transform.apply(houses).to_numpy(order="c")
    start = time.perf_counter()
    model.model.predict(features)
    alone = len(features) / (time.perf_counter() - start)
    rate = scores.rows / scores.seconds
    print(
        f"{scores.rows:>12,} {scores.seconds:>9.1f} {rate:>11,.0f} {alone:>13,.0f} "
        f"{rate / alone:>6.2f} {peak:>9,.0f}"
    )


def main() -> None:
    """Runs every size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        measure(arguments.file)
        return
    print("        rows   seconds      rows/s   model alone  ratio   peak MB", flush=True)
    with tempfile.TemporaryDirectory(prefix="housing-") as folder:
        for rows in arguments.rows:
            path = Path(folder) / f"{rows}.parquet"
            write_houses(path, rows)
            subprocess.run([sys.executable, __file__, "--file", str(path)], check=True)


if __name__ == "__main__":
    main()

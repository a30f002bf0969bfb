"""What became of the deliveries, in sentences for a stage's log and a run's summary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REPORT = Path("reports/data_quality.json")
_SHOWN = 5


def read_account(root: Path) -> tuple[str, ...]:
    """The account of the last data quality report below a folder; nothing where there is none."""
    try:
        return tuple(account(json.loads((root / REPORT).read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return ()


def account(report: Mapping[str, Any]) -> Iterator[str]:
    """Tells what was read, kept and left out.

    Args:
        report: The content of ``reports/data_quality.json``.

    Yields:
        The rows; then a sentence for each kind of thing that was left out.
    """
    yield (
        f"{report['rows_in']:,} rows in {len(report['files'])} file(s): "
        f"{report['rows_kept']:,} kept, {report['rows_quarantined']:,} quarantined, "
        f"{report['rows_duplicate']:,} duplicates"
    )
    reasons = sorted(report["reasons"].items(), key=lambda item: (-item[1], item[0]))
    if reasons:
        yield "quarantined for: " + _listed([f"{reason} ({n:,})" for reason, n in reasons])
    for name, file in report["files"].items():
        if file["extra_columns"]:
            yield f"columns of {name} that params.yaml does not name: " + _listed(
                file["extra_columns"]
            )
    left_out = [name for name in report["ignored_files"] if not name.startswith(".")]
    if left_out:
        yield f"no delivery, as only *.csv and *.parquet files are: {_listed(left_out)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

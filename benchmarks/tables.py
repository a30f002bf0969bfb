"""The tables of docs/which-approach.md, made from the file of measurements."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from measured import Cost, Samples

DAYS = {"day 1": "new data", "day 2": "one parameter changed", "day 3": "nothing changed"}

Content = Mapping[str, Any]


def samples(content: Content, part: str) -> dict[str, Samples]:
    """The samples of one part: `days`, `judged`, `branches`, `chain`, `cold` or `noop`."""
    return {name: Samples(**values) for name, values in content[part]["samples"].items()}


def with_tables(page: str, content: Content) -> str:
    """The page, with each table as the file has it between the comments that name it.

    Args:
        page: Text of docs/which-approach.md.
        content: Of the file of measurements.
    """
    measured = {part.split()[0] for part in content} | {"machine"}
    tables: dict[str, Callable[[], list[str]]] = {
        "days": lambda: _by_column(samples(content, "days")),
        "judged": lambda: _by_column(samples(content, "judged")),
        "cold": lambda: _parts(samples(content, "cold")),
        "noop": lambda: _list(samples(content, "noop")),
        "branches": lambda: _list(samples(content, "branches")),
        "chain": lambda: _by_column(samples(content, "chain")),
        "growth": lambda: _growth(content),
        "machine": lambda: _machine(content),
    }
    for part, table in tables.items():
        before, begin, rest = page.partition(f"<!-- {part} -->\n")
        _, end, after = rest.partition(f"<!-- end of {part} -->")
        rows = table() if part in measured else ["Not measured yet."]
        page = before + begin + "".join(f"{row}\n" for row in rows) + end + after
    return page


def _list(table: Mapping[str, Samples]) -> list[str]:
    rows = ["| what | seconds (from, to) | processor seconds |", "|---|---|---|"]
    return rows + [
        f"| {name} | {_wall(found)} | {' '.join(_cpu(found))} |" for name, found in table.items()
    ]


def _parts(table: Mapping[str, Samples]) -> list[str]:
    """A column for each part of a run."""
    heads = f"| {' | '.join(table)} |"
    return [heads, "|---" * len(table) + "|", f"| {' | '.join(map(_wall, table.values()))} |"]


def _by_column(table: Mapping[str, Samples]) -> list[str]:
    """A row for each approach, a column for what stands behind the comma of its names."""
    names = list(dict.fromkeys(name.rpartition(", ")[0] for name in table))
    columns = list(dict.fromkeys(name.rpartition(", ")[2] for name in table))
    heads = [f"{name}: {DAYS[name]}" if name in DAYS else name for name in columns]
    rows = [f"| | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = [
            ", ".join([_wall(found), *_cpu(found)]) if found else ""
            for found in (table.get(f"{name}, {column}") for column in columns)
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _growth(content: Content) -> list[str]:
    """A row for each stage, a column for each number of rows."""
    sizes = sorted(int(part.split()[1]) for part in content if part.startswith("growth "))
    costs = {
        rows: {
            name: Cost(**values) for name, values in content[f"growth {rows}"]["samples"].items()
        }
        for rows in sizes
    }
    heads = " | ".join(f"{rows:,} rows" for rows in sizes)
    table = [f"| | {heads} |", "|---" * (len(sizes) + 1) + "|"]
    for stage in costs[sizes[0]]:
        cells = [
            f"{cost.cpu_seconds:.1f} s, {1e6 * cost.cpu_seconds / rows:.1f} µs, "
            f"{cost.peak_gigabytes:.2f} GB"
            if cost
            else ""
            for rows, cost in ((rows, costs[rows].get(stage)) for rows in sizes)
        ]
        table.append(f"| `{stage}` | {' | '.join(cells)} |")
    return table


def _machine(content: Content) -> list[str]:
    part = content["days"]
    versions = ", ".join(f"{name} {number}" for name, number in part["versions"].items())
    repeats = min(len(found.seconds) for found in samples(content, "days").values())
    return [f"{part['machine']}; {versions}; {repeats} repeats; {part['taken']}."]


def _wall(found: Samples) -> str:
    return f"{found.median:.1f} s ({min(found.seconds):.1f} to {max(found.seconds):.1f})"


def _cpu(found: Samples) -> list[str]:
    """The processor time, where it is known."""
    return [f"{statistics.median(found.cpu_seconds):.1f}"] if found.cpu_seconds else []

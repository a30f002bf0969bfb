"""Draws the comparison of the approaches, and writes its tables into docs/which-approach.md.

Usage: ``uv run python benchmarks/report.py``; ``make bench`` ends with it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from measured import FILE, Samples
from tables import DAYS, samples, with_tables

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "which-approach.md"
DAYS_IMAGE = DOCS / "images" / "approaches.svg"
COLD_IMAGE = DOCS / "images" / "cold-run.svg"
COLOURS = ("#9aa5b1", "#5b8fb9", "#d9843b", "#7a9e7e", "#b58db6", "#c9b458")


def draw_days(table: Mapping[str, Samples]) -> None:
    """Draws a group of bars for each approach, with a bar for each day."""
    names = list(dict.fromkeys(name.rpartition(", ")[0] for name in table))
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for index, (day, what) in enumerate(DAYS.items()):
        places = [place + (index - 1) * 0.27 for place in range(len(names))]
        heights = [table[f"{name}, {day}"].median for name in names]
        bars = axes.bar(places, heights, 0.25, label=f"{day}: {what}", color=COLOURS[index])
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("seconds a run (median)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=9, ncols=3, loc="outside upper center")
    figure.savefig(DAYS_IMAGE, metadata={"Date": None})


def draw_cold(table: Mapping[str, Samples]) -> None:
    """Draws where the seconds of a cold run go: one bar, a piece for each part."""
    figure, axes = plt.subplots(figsize=(8, 1.6), layout="constrained")
    left = 0.0
    for (name, found), colour in zip(table.items(), COLOURS, strict=True):
        bar = axes.barh(0, found.median, left=left, label=name, color=colour)
        axes.bar_label(bar, fmt="%.1f", label_type="center", fontsize=8)
        left += found.median
    axes.set_yticks([])
    axes.set_xlabel("seconds along the critical path (medians)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, ncols=len(table), loc="outside upper center")
    figure.savefig(COLD_IMAGE, metadata={"Date": None})


def main() -> None:
    """Writes the page's tables and the pictures."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    mpl.rcParams["svg.hashsalt"] = "housing"  # the same pictures from the same numbers
    draw_days(samples(content, "days"))
    draw_cold(samples(content, "cold"))
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), content), encoding="utf-8")


if __name__ == "__main__":
    main()

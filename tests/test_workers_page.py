"""The figures that docs/workers.md gives are those that `make workers-test` kept."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_has_the_figures_of_the_benchmark() -> None:
    kept = json.loads((ROOT / "benchmarks/results/workers.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/workers.md").read_text(encoding="utf-8")
    ratios = kept["isolated_to_shared"]
    for line in (
        f"| a run in which every branch runs for 1 s | {ratios['branches run 1 s']:.2f} times |",
        f"| a run in which every branch runs for 10 s | {ratios['branches run 10 s']:.2f} times |",
        f"| a run in which nothing runs | {ratios['none runs']:.2f} times |",
        f"| a task on a warm worker | {kept['more_seconds_of_a_task']:.2f} s more |",
        f"| 16 branches of 10 s on 8 slots | {kept['branches_to_ideal']:.2f} times the ideal |",
        f"| calls of a task to the API server | {kept['calls_of_a_task']:.1f} |",
        f"| requests to S3 of a task that runs | "
        f"{kept['requests_to_s3_of_a_task_that_runs']:.1f} |",
    ):
        assert line in page

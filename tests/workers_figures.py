"""What isolated workspaces cost: ratios to one shared folder, taken in one run on one machine.

Usage: ``make workers-test PARTS=figures``; nothing else may run on the machine. The shared folder is
used by a third worker with as many slots as the two others have.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.workers_parts import wait
from tests.workers_pipeline import PARAMS, STAGES, WIDTH
from tests.workers_site import SLOTS, Site

REPEATS = 3
PAUSE = 10  # seconds that a branch takes where the parallel run is timed


class Figures:
    """Runs the 16-branch pipeline both ways.

    Args:
        site: The running site.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.shared = site.base / "shared"

    def start(self) -> None:
        """Makes the shared folder and its worker."""
        self.site.pipe.clone("shared")
        dag = self.shared / "dags/pipe.py"
        text = dag.read_text().replace('"pipe"', '"pipe_shared"').replace('"isolated"', '"shared"')
        dag.write_text(text.replace("default_args={", 'default_args={"queue": "shared", '))
        self.site.start_shared_worker()
        wait("the shared DAG", lambda: self.site.version("pipe_shared"))

    def cold(self, number: int) -> tuple[float, float]:
        """Seconds of a run in which every stage runs: isolated, shared."""
        text = f"content {number}\n"
        self.site.change("in.txt", text)
        (self.shared / "in.txt").write_text(text)
        return self.run("pipe")[0], self.run("pipe_shared")[0]

    def unchanged(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Seconds of a run in which nothing runs, and of a task in it: isolated, shared."""
        self.site.settle()
        return self.run("pipe"), self.run("pipe_shared")

    def run(self, dag: str) -> tuple[float, float]:
        """Seconds of a run, and the mean of its stages' tasks."""
        run = self.site.trigger(dag)
        seconds = self.site.finish(run, dag)
        spans = [_span(task) for task in self.tasks(run, dag)]
        return seconds, statistics.fmean(end - start for start, end in spans)

    def tasks(self, run: str, dag: str) -> list[dict[str, Any]]:
        """What Airflow knows of the stages' tasks of a run."""
        url = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"
        found = self.site.client.get(url).raise_for_status().json()["task_instances"]
        return [task for task in found if task["task_id"] != "write_back"]

    def branches(self) -> float:
        """Seconds of the branches, of `PAUSE` each, against the ideal of all slots at work."""
        self.site.change("params.yaml", PARAMS.replace("pause: 1", f"pause: {PAUSE}"))
        run = self.site.trigger("pipe")
        self.site.finish(run)
        spans = [_span(task) for task in self.tasks(run, "pipe") if "branch" in task["task_id"]]
        seconds = max(end for _, end in spans) - min(start for start, _ in spans)
        return seconds / (PAUSE * WIDTH / (2 * SLOTS))

    def traffic(self, change: Callable[[], None]) -> tuple[int, int, int]:
        """Requests to S3, bytes that moved, and bytes of all outs, of one isolated run."""
        change()
        asked = self.site.requests().total()
        run = self.site.trigger("pipe")
        self.site.finish(run)
        ids = [task["task_id"] for task in self.tasks(run, "pipe")]
        records = [self.site.result(run, task) for task in ids]
        moved = sum(record["fetched"] + record["pushed"] for record in records)
        size = sum(out["size"] for record in records for out in record["outs"])
        return self.site.requests().total() - asked, moved, size


def _span(task: dict[str, Any]) -> tuple[float, float]:
    start, end = (datetime.fromisoformat(task[f"{key}_date"]) for key in ("start", "end"))
    return start.timestamp(), end.timestamp()


def figures(site: Site) -> None:
    """Prints the table of docs/workers.md."""
    made = Figures(site)
    made.start()
    made.cold(0)  # both ways are warm: imports, bundles, caches
    colds = [made.cold(number) for number in range(1, REPEATS + 1)]
    made.unchanged()
    quiet = [made.unchanged() for _ in range(REPEATS)]
    asked, moved, size = made.traffic(lambda: site.change("in.txt", "traffic\n"))
    still, none, _ = made.traffic(site.settle)
    rows = {
        "a run in which every stage runs": _ratio([one for one, _ in colds], [b for _, b in colds]),
        "a run in which none does": _ratio([a[0] for a, _ in quiet], [b[0] for _, b in quiet]),
        "more time of a task on a warm worker": (
            f"{statistics.median(a[1] - b[1] for a, b in quiet):.2f} s"
        ),
        f"{WIDTH} branches of {PAUSE} s against the ideal": f"{made.branches():.2f}",
        "requests to S3 for each task that runs": f"{asked / len(STAGES):.1f}",
        "bytes moved for each byte of an out": f"{moved / size:.2f}",
        "requests and bytes of a run in which none runs": f"{still}, {none}",
    }
    width = max(map(len, rows))
    for what, figure in rows.items():
        print(f"{what:<{width}}  {figure}", flush=True)


def _ratio(isolated: list[float], shared: list[float]) -> str:
    one, other = statistics.median(isolated), statistics.median(shared)
    return f"{one / other:.2f} ({one:.1f} s to {other:.1f} s)"

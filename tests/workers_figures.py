"""What isolated workspaces cost: ratios to one shared folder, taken in one run on one machine.

Usage: ``make workers-test PARTS="figures costs"``; nothing else may run on the machine. The shared
folder is used by a third worker with as many slots as the two others have.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil

from tests.workers_parts import wait
from tests.workers_pipeline import PARAMS, STAGES, WIDTH
from tests.workers_site import ROOT, SLOTS, Site

REPEATS = 3
PAUSE = 10  # seconds that a branch takes where the parallel run is timed
HEARTBEAT = 5  # seconds between two heartbeats of a task, by default
READING = 15  # seconds between two looks at the DAG files, and at git; by default 30, and 300
IDLE = 20  # seconds in which the parts are watched while nothing runs
PARTS = ("scheduler", "api-server", "database")
ROWS, CALLS, CLOCK = "rows written", "calls", "seconds"
KEPT = ROOT / "benchmarks/results/workers.json"


@dataclass(frozen=True)
class Spent:
    """What a run took.

    Attributes:
        tasks: Its tasks.
        busy: Seconds in which tasks ran, added up; one in five has a heartbeat of its task.
        of: Seconds of a processor by part, rows written, calls, and the run's seconds.
    """

    tasks: int
    busy: float
    of: dict[str, float]


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

    def cold(self, number: int, pause: int) -> tuple[float, float]:
        """Seconds of a run in which every stage runs, each branch for so long: isolated, shared."""
        files = {
            "in.txt": f"content {number}, {pause} s\n",
            "params.yaml": PARAMS.replace("pause: 1", f"pause: {pause}"),
        }
        for name, text in files.items():
            if (self.site.pipe.seed / name).read_text() != text:
                self.site.pipe.change(name, text)
            (self.shared / name).write_text(text)
        self.site.settle()
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

    def branches(self, pause: float) -> tuple[float, Spent]:
        """All branches run, for so many seconds each.

        Returns:
            Their time against the ideal of all slots at work, and what the run took of the parts.
        """
        self.site.change("params.yaml", PARAMS.replace("pause: 1", f"pause: {pause}"))
        before = self._now()
        run = self.site.trigger("pipe")
        self.site.finish(run)
        after = self._now()
        tasks = self.tasks(run, "pipe")
        busy = sum(end - start for start, end in map(_span, tasks))
        spans = [_span(task) for task in tasks if "branch" in task["task_id"]]
        seconds = max(end for _, end in spans) - min(start for start, _ in spans)
        spent = {part: after[part] - before[part] for part in after}
        return seconds / (pause * WIDTH / (2 * SLOTS)), Spent(len(tasks) + 1, busy, spent)

    def idle(self) -> dict[str, float]:
        """What the parts take in a second in which nothing runs."""
        self.site.settle()
        before = self._now()
        time.sleep(IDLE)
        after = self._now()
        return {part: (after[part] - before[part]) / IDLE for part in before}

    def _now(self) -> dict[str, float]:
        """Seconds of a processor by part, rows that were written, calls, and the clock."""
        said = (self.site.base / "log").read_text()
        calls = re.findall(r"http.access.* path=/execution/(?!.*/heartbeat)", said)
        counts = {ROWS: self.site.database.written(), CALLS: len(calls)}
        spent = {part: _spent(self.site.services[part].pid) for part in PARTS}
        return {**spent, **counts, CLOCK: time.monotonic()}

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


def _spent(pid: int) -> float:
    """Seconds of a processor that a service has taken so far, with all its processes."""
    first = psutil.Process(pid)
    times = [one.cpu_times() for one in (first, *first.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def _span(task: dict[str, Any]) -> tuple[float, float]:
    start, end = (datetime.fromisoformat(task[f"{key}_date"]) for key in ("start", "end"))
    return start.timestamp(), end.timestamp()


def figures(site: Site) -> None:
    """Prints isolated against shared workspaces, for docs/workers.md."""
    made = Figures(site)
    made.start()
    made.cold(0, 1)  # both ways are warm: imports, bundles, caches
    colds = {}
    for pause in (1, PAUSE):
        colds[pause] = [made.cold(number, pause) for number in range(1, REPEATS + 1)]
        _say(f"a run in which every stage runs, a branch {pause} s", _ratio(colds[pause]))
    made.unchanged()
    quiet = [made.unchanged() for _ in range(REPEATS)]
    runs = [(one[0], other[0]) for one, other in quiet]
    _say("a run in which none does", _ratio(runs))
    more = statistics.median(one[1] - other[1] for one, other in quiet)
    _say("more time of a task on a warm worker", f"{more:.2f} s")
    _keep(
        isolated_to_shared={
            **{f"branches run {pause} s": round(_times(colds[pause]), 2) for pause in colds},
            "none runs": round(_times(runs), 2),
        },
        more_seconds_of_a_task=round(more, 2),
    )


def costs(site: Site) -> None:
    """Prints what isolated tasks take of S3 and of Airflow's services, and keeps that in `KEPT`."""
    site.read_seldom(READING)
    made = Figures(site)
    made.traffic(lambda: site.change("in.txt", "warm\n"))
    asked, moved, size = made.traffic(lambda: site.change("in.txt", "traffic\n"))
    _say("requests to S3 for each task that runs", f"{asked / len(STAGES):.1f}")
    _say("bytes moved for each byte of an out", f"{moved / size:.2f}")
    still, none, _ = made.traffic(site.settle)
    _say("requests and bytes of a run in which none runs", f"{still}, {none}")
    site.settle()
    _, seconds = made.run("pipe")
    idle = made.idle()
    _, short = made.branches(2)
    # Another pause each time, or the second run would find nothing to do.
    runs = [made.branches(PAUSE + number / 10) for number in range(REPEATS)]
    ideal, long = statistics.median(one for one, _ in runs), runs[-1][1]
    _say(f"{WIDTH} branches of {PAUSE} s against the ideal", f"{ideal:.2f}")
    found = {part: _costs(short, long, part, idle) for part in (*PARTS, ROWS, CALLS)}
    for part, cost in found.items():
        _say(f"{part}: a task, a heartbeat", f"{cost['task']:.3f}, {cost['heartbeat']:.4f}")
    _keep(
        seconds_of_a_task=round(seconds, 2),
        processor_seconds={part: found[part] for part in PARTS},
        rows_written_by_a_task=round(found[ROWS]["task"]),
        calls_of_a_task=round(found[CALLS]["task"], 1),
        requests_to_s3_of_a_task_that_runs=round(asked / len(STAGES), 1),
        branches_to_ideal=round(ideal, 2),
    )


def _keep(**found: object) -> None:
    """Keeps figures beside those of the other part; the date is that of the newest."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    kept |= {"taken": datetime.now(UTC).date().isoformat()} | found
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _say(what: str, figure: str) -> None:
    print(f"{what:<50}  {figure}", flush=True)


def _costs(short: Spent, long: Spent, part: str, idle: dict[str, float]) -> dict[str, float]:
    """What a task takes of a part, and a heartbeat: of two runs whose tasks differ in length."""
    one, other = (spent.of[part] - idle[part] * spent.of[CLOCK] for spent in (short, long))
    beats = [spent.busy / HEARTBEAT for spent in (short, long)]
    heartbeat = max(0.0, (other - one) / (beats[1] - beats[0]))
    task = (one - heartbeat * beats[0]) / short.tasks
    return {"task": round(max(0.0, task), 4), "heartbeat": round(heartbeat, 5)}


def _times(pairs: list[tuple[float, float]]) -> float:
    one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return float(one / other)


def _ratio(pairs: list[tuple[float, float]]) -> str:
    one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return f"{one / other:.2f} ({one:.1f} s to {other:.1f} s)"

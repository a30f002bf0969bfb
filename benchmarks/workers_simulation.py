"""A run of 1,000 stages on 100 workers, simulated from what one task was measured to cost.

`make workers-test PARTS=costs` measures what a task takes of a real scheduler, API server and
metadata database, and writes it to `results/workers.json`. Here a scheduler starts stages in
rounds, as Airflow's does: a round takes what its starts cost, and starts no more than
`scheduler.max_tis_per_query`, than there are slots, and than `core.parallelism` and
`core.max_active_tasks_per_dag` allow. The time of the run follows, and how many processors each
part needs meanwhile: one that needs more than one is a limit.

Usage: ``UV_ENV_FILE=local.env uv run python benchmarks/workers_simulation.py [SECONDS ...]``, the
seconds of a stage, by default 10, 60 and 600. Nothing else runs; it takes seconds.
"""

from __future__ import annotations

import heapq
import json
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

MEASURED = Path(__file__).parent / "results" / "workers.json"
STAGES = 1_000
WORKERS, SLOTS = 100, 4
HEARTBEAT = 5.0
"""Seconds between two heartbeats of a task: Airflow's default."""


@dataclass(frozen=True)
class Settings:
    """What Airflow is told.

    Attributes:
        name: For the table.
        parallelism: ``core.parallelism``: tasks that run at once.
        per_dag: ``core.max_active_tasks_per_dag``.
        per_round: ``scheduler.max_tis_per_query``.
        idle: ``scheduler.scheduler_idle_sleep_time``, seconds.
    """

    name: str
    parallelism: int
    per_dag: int
    per_round: int
    idle: float


DEFAULT = Settings("Airflow's defaults", 32, 16, 16, 1.0)
WIDE = Settings("400 slots allowed", 400, 400, 16, 1.0)
TUNED = Settings("and 64 a round, 0.1 s", 400, 400, 64, 0.1)


@dataclass(frozen=True)
class Costs:
    """What a part of Airflow spends, in seconds of one processor.

    Attributes:
        task: For one task, from its start to its end.
        heartbeat: For one heartbeat of a running task.
    """

    task: float
    heartbeat: float


@dataclass(frozen=True)
class Outcome:
    """A simulated run.

    Attributes:
        seconds: Its time.
        running: Tasks at once, at most.
        busy: Seconds in which tasks ran, added up.
    """

    seconds: float
    running: int
    busy: float


def simulate(settings: Settings, stage: float, overhead: float, scheduler: Costs) -> Outcome:
    """A root, 998 stages that read it, and one that reads all of them.

    Args:
        settings: See `Settings`.
        stage: Seconds of a stage's command.
        overhead: Seconds that its task takes more.
        scheduler: What the scheduler spends.
    """
    levels = deque([1, STAGES - 2, 1])
    ready, ends = levels.popleft(), list[float]()
    now, most, busy = 0.0, 0, 0.0
    limit = min(settings.parallelism, settings.per_dag, WORKERS * SLOTS)
    while ready or ends:
        while ends and ends[0] <= now:
            heapq.heappop(ends)
        if not ready and not ends and levels:
            ready = levels.popleft()
        started = min(settings.per_round, ready, limit - len(ends))
        ready -= started
        now += started * scheduler.task
        for _ in range(started):
            heapq.heappush(ends, now + stage + overhead)
        busy += started * (stage + overhead)
        most = max(most, len(ends))
        now += 0.0 if started else settings.idle
    return Outcome(now, most, busy)


def main() -> None:
    """Prints the table."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    parts = {name: Costs(**cost) for name, cost in measured["processor_seconds"].items()}
    overhead = measured["seconds_of_a_task"]
    print(f"{STAGES:,} stages on {WORKERS} workers of {SLOTS} slots; processors that are busy:")
    print(f"{'stage':>7}  {'settings':<22} {'run':>8} {'ideal':>7} {'at once':>8}", *parts)
    for stage in map(float, sys.argv[1:] or (10, 60, 600)):
        rounds = -(-(STAGES - 2) // (WORKERS * SLOTS))
        ideal = (2 + rounds) * stage
        for settings in (DEFAULT, WIDE, TUNED):
            found = simulate(settings, stage, overhead, parts["scheduler"])
            load = [
                (STAGES * cost.task + found.busy / HEARTBEAT * cost.heartbeat) / found.seconds
                for cost in parts.values()
            ]
            print(
                f"{stage:5.0f} s  {settings.name:<22} {found.seconds:6.0f} s {ideal:5.0f} s "
                f"{found.running:8}",
                *(f"{one:{len(name)}.2f}" for one, name in zip(load, parts, strict=True)),
            )


if __name__ == "__main__":
    main()

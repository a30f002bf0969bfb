"""What the comparison of the approaches measures, and the file that it keeps."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

FILE = Path(__file__).parent / "results" / "approaches.json"
PACKAGES = ("apache-airflow", "dvc", "mlflow", "xgboost", "polars")


@dataclass
class Samples:
    """Repeats of one thing.

    Attributes:
        seconds: Wall time of each repeat.
        cpu_seconds: Processor time of the whole machine meanwhile: nothing else may run.
            Empty where only the wall time is known.
    """

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def take(self, run: Callable[[], float | None]) -> None:
        """Measures once.

        Args:
            run: Does the work; it returns the seconds where it knows better than the clock here.
        """
        begun, busy = time.monotonic(), machine_cpu_seconds()
        found = run()
        self.seconds.append(time.monotonic() - begun if found is None else found)
        self.cpu_seconds.append(machine_cpu_seconds() - busy)

    def warm(self) -> Samples:
        """All but the first repeat, in which Airflow starts its workers."""
        return Samples(self.seconds[1:], self.cpu_seconds[1:])

    @property
    def median(self) -> float:
        """Median of the wall time, in seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        text = f"{self.median:7.2f} s ({min(self.seconds):.2f} to {max(self.seconds):.2f})"
        cpu = self.cpu_seconds
        return f"{text}, processor {statistics.median(cpu):.2f} s" if cpu else text


@dataclass(frozen=True)
class Cost:
    """What one process took.

    Attributes:
        cpu_seconds: Processor time of it and its children.
        peak_gigabytes: Largest resident memory of one process, in 10^9 bytes.
    """

    cpu_seconds: float
    peak_gigabytes: float

    def __str__(self) -> str:
        return f"processor {self.cpu_seconds:.1f} s, {self.peak_gigabytes:.2f} GB"


Table = dict[str, Samples]
"""Samples by what was run: `A2 day 1`."""


def machine_cpu_seconds() -> float:
    """Seconds that all processors have been busy since the machine started (proc(5), stat)."""
    user, nice, system, _, _, irq, softirq = (
        int(number) for number in Path("/proc/stat").read_text(encoding="ascii").split()[1:8]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def keep(part: str, table: Mapping[str, Samples | Cost]) -> None:
    """Prints a part of the comparison and writes it into the file, beside the other parts."""
    for name, found in table.items():
        print(f"{name:28} {found}")
    content = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    content[part] = {
        "taken": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "samples": {name: asdict(found) for name, found in table.items()},
    }
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

"""What the proof by hash costs: a stage that reads 512 MB runs, and one that writes it is restored.

Each is done with the proof and without it (``HOUSING_VERIFY=0``), in turn, in a warm process. The
seconds are those of this process on a processor: other load does not count, nor does the command.

Usage: ``UV_ENV_FILE=local.env uv run python benchmarks/verify_deps.py [REPEATS]``
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from housing.engine.execution import cache_proof, stage_run

SIZE = 512 * 1024**2
STAGES = {
    "write": {"cmd": f"head -c {SIZE} /dev/zero > data", "outs": ["data"], "deps": ["seed"]},
    "read": {"cmd": "wc -c data > size", "deps": ["data"], "outs": ["size"]},
}


def restored(root: Path) -> float:
    """Seconds to bring back the lost out of a stage."""
    (root / "data").unlink()
    return seconds(root, "write", "restored")


def ran(root: Path) -> float:
    """Seconds to run a stage that reads it."""
    return seconds(root, "read", "ran")


def seconds(root: Path, stage: str, verdict: str) -> float:
    """Seconds that a stage takes, with what it has to do."""
    began = time.process_time()
    record = stage_run.reproduce(root, stage, force=verdict == "ran")
    took = time.process_time() - began
    if record.state != verdict:
        sys.exit(f"{stage} {record.state}, not {verdict}")
    return took


def main(repeats: int) -> None:
    """Prints the medians, with and without."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "dvc.yaml").write_text(json.dumps({"stages": STAGES}))
        (root / "seed").write_text("")
        for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
            subprocess.run(command, cwd=root, check=True)
        for stage in STAGES:
            stage_run.reproduce(root, stage)
        for what in (restored, ran):
            found: dict[str, list[float]] = {"1": [], "0": []}
            for _ in range(repeats):
                for switch, times in found.items():
                    os.environ[cache_proof.SWITCH] = switch
                    times.append(what(root))
            proved, trusted = (statistics.median(times) for times in found.values())
            print(f"{what.__name__}: {proved:.2f} s proved, {trusted:.2f} s without")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from housing.engine import graph
from housing.engine.execution import lockfile, stage_run
from tests.conftest import MakeRepo

STAGES = 8
# A stage goes on when all of them have begun; it fails if the others never do.
MEET = f"""
touch $1.began
for _ in $(seq 2400); do
  [ $(ls *.began | wc -l) -lt {STAGES} ] || exit 0
  sleep 0.05
done
exit 9
"""


def all_at_once(bodies: list[Callable[[], object]]) -> list[int]:
    """Does each in a child of this warm process; the exit codes."""
    pids = []
    for body in bodies:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                body()
                code = 0
            except BaseException:  # noqa: BLE001 - the child ends here
                traceback.print_exc()
            finally:
                os._exit(code)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def noted(command: str, name: str) -> str:
    """The command, which notes when it began and when it ended."""
    return f"date +%s.%N >> {name}.times; {command}; date +%s.%N >> {name}.times"


def times(root: Path, name: str) -> list[float]:
    return [float(line) for line in (root / f"{name}.times").read_text().split()]


def reproduces(root: Path, stage: str, verdict: str) -> Callable[[], None]:
    def body() -> None:
        record = stage_run.reproduce(root, stage)
        assert record.state == verdict, record

    return body


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    lines = ["stages:"]
    for name in (f"s{at}" for at in range(STAGES)):
        cmd = f"sh meet.sh {name} && cat in.txt > {name}.out && echo {name} >> {name}.out"
        lines.append(f"  {name}: {{cmd: '{cmd}', deps: [in.txt], outs: [{name}.out]}}")
    return make_repo({"dvc.yaml": "\n".join(lines), "in.txt": "0\n", "meet.sh": MEET})


def test_independent_stages_run_at_the_same_time_and_lose_nothing(root: Path) -> None:
    names = [stage.name for stage in graph.load(root).stages]
    for value in ("1\n", "2\n"):
        (root / "in.txt").write_text(value)
        for began in root.glob("*.began"):
            began.unlink()
        assert all_at_once([reproduces(root, name, "ran") for name in names]) == [0] * STAGES
        assert set(lockfile.read(root)) == set(names)
        for name in names:
            assert (root / f"{name}.out").read_text() == f"{value}{name}\n"
    # Nothing to do is told of all of them, again at once: dvc status would be clean.
    assert all_at_once([reproduces(root, name, "unchanged") for name in names]) == [0] * STAGES


def test_the_same_stage_never_runs_twice_at_once(make_repo: MakeRepo) -> None:
    cmd = noted("sleep 0.3; echo > one.out", "one")
    root = make_repo({"dvc.yaml": f"stages: {{one: {{cmd: '{cmd}', outs: [one.out]}}}}\n"})
    bodies: list[Callable[[], object]] = [lambda: stage_run.reproduce(root, "one", force=True)] * 4
    assert all_at_once(bodies) == [0] * 4
    spans = times(root, "one")
    assert len(spans) == 8
    assert all(earlier <= later for earlier, later in pairwise(spans))


def test_a_stage_waits_for_one_that_it_reads_from(make_repo: MakeRepo) -> None:
    root = make_repo(
        {
            "in.txt": "1\n",
            "dvc.yaml": "stages:\n"
            f"  up: {{cmd: '{noted('echo half > up.txt; sleep 1; cp in.txt up.txt', 'up')}',"
            " deps: [in.txt], outs: [up.txt]}\n"
            f"  down: {{cmd: '{noted('cp up.txt down.txt', 'down')}',"
            " deps: [up.txt], outs: [down.txt]}\n",
        }
    )
    stage_run.reproduce(root, "up")
    stage_run.reproduce(root, "down")
    (root / "in.txt").write_text("2\n")

    def down() -> None:
        while len(times(root, "up")) == 2:
            time.sleep(0.01)
        stage_run.reproduce(root, "down")

    assert all_at_once([lambda: stage_run.reproduce(root, "up"), down]) == [0, 0]
    assert (root / "down.txt").read_text() == "2\n"
    assert times(root, "down")[-2] >= times(root, "up")[-1]

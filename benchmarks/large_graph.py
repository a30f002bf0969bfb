"""A graph of 4,100 stages and 40,000 edges: what it costs DVC, a parse, Airflow's store and its UI.

41 layers of 100 stages, each of which reads 10 outs of the layer before: a foreach in each of 41
folders, so that the UI shows 41 closed groups. The edges are compared with ``dvc dag``. The
UI's part is what its pages ask of the API server (SQLite, ``local.env``); ``--browser`` also opens
both pages in a headless Chromium.

Usage: ``UV_ENV_FILE=local.env uv run python benchmarks/large_graph.py [--browser]``
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from real_airflow import Airflow, airflow

LAYERS, WIDTH, READS = 41, 100, 10
LIMIT = 900
SETTINGS = {
    # For the graph view Airflow reads the stored DAG once for each outlet asset.
    "AIRFLOW__CORE__COMPRESS_SERIALIZED_DAGS": "True",
    # A machine may have more to do.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": str(LIMIT),
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": str(LIMIT),
}
DAG = """
# Airflow reads only files that have its name in them.
from datetime import UTC, datetime
from housing.engine import DvcDag

dag = DvcDag("large", root={root!r}, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
"""
MEASURED = """
import json, resource, runpy, sys, time
from pathlib import Path
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.dag_edges import dag_edges
import airflow.sdk.definitions.asset, housing.engine.airflow.task_group
from housing.engine.graph import load

def timed(call):
    began = time.process_time()
    found = call()
    return time.process_time() - began, found

root = Path({root!r})
told = {{}}
told["resolved by DVC"], graph = timed(lambda: load(root))
told["stages"], told["edges"] = len(graph.stages), sum(len(s.upstream) for s in graph.stages)
time.sleep(0.1)  # a folder that changed this moment is looked at again
load(root)
told["read from the manifest"], _ = timed(lambda: load(root))
told["DAG file"], found = timed(lambda: runpy.run_path({file!r}))
told["serialized"], stored = timed(lambda: DagSerialization.to_dict(found["dag"]))
told["MB serialized"] = len(json.dumps(stored)) / 1e6
told["read back"], back = timed(lambda: DagSerialization.from_dict(stored))
told["edges for the UI"], drawn = timed(lambda: dag_edges(back))
edges = [(up, task.task_id) for task in found["dag"].tasks for up in task.upstream_task_ids]
names = {{task.task_id: name for name, task in found["dag"].stages.items()}}
Path({edges!r}).write_text(json.dumps([(names[a], names[b]) for a, b in edges]))
told["MB of memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps(told))
"""


def make(root: Path) -> None:
    """Makes the repository."""
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True)
    for layer in range(LAYERS):
        folder = root / f"l{layer:02}"
        folder.mkdir()
        before = f"../l{layer - 1:02}"
        keys = {
            f"s{n:02}": {f"d{i}": f"{before}/o{(n + i) % WIDTH:02}" for i in range(READS)}
            for n in range(WIDTH)
        }
        do = {
            "cmd": "echo ${key} > o$(echo ${key} | tail -c 3)",
            "deps": [f"${{item.d{i}}}" for i in range(READS)] if layer else [],
        }
        stages = {
            "make": {
                "foreach": {
                    key: {**(deps if layer else {}), "out": f"o{key[1:]}"}
                    for key, deps in keys.items()
                },
                "do": {**do, "outs": ["${item.out}"]},
            }
        }
        (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))


def require_edges_of_dvc(root: Path, edges: Path) -> float:
    """Compares the edges of the DAG's tasks with those of ``dvc dag``; the seconds of that."""
    began = time.monotonic()
    command = [sys.executable, "-m", "dvc", "dag", "--dot"]
    dot = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout
    drawn = set(re.findall(r'"(.+)" -> "(.+)";', dot))
    if drawn != set(map(tuple, json.loads(edges.read_text()))):
        sys.exit("the DAG has other edges than dvc dag")
    return time.monotonic() - began


def asked(services: Airflow) -> Iterator[tuple[str, float, float]]:
    """What the pages of the UI ask for: name, seconds, MB."""
    client = services.client
    body = {"logical_date": None}
    run = client.post("/api/v2/dags/large/dagRuns", json=body, timeout=LIMIT).json()
    pages = {
        "list of DAGs": "/ui/dags",
        "graph": "/ui/structure/structure_data?dag_id=large",
        "grid": "/ui/grid/structure/large",
        "states in the grid": f"/ui/grid/ti_summaries/large?run_ids={run['dag_run_id']}",
        "trigger form": "/api/v2/dags/large/details",
    }
    for name, address in pages.items():
        client.get(address, timeout=LIMIT)
        began = time.monotonic()
        answer = client.get(address, timeout=LIMIT)
        answer.raise_for_status()
        yield name, time.monotonic() - began, len(answer.content) / 1e6


def opened(services: Airflow, root: Path) -> Iterator[tuple[str, float, float]]:
    """Opens grid and graph in a browser: name, seconds until groups are drawn, of a processor."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from selenium.webdriver.support.ui import WebDriverWait

    from tests.browser import chromium

    address = str(services.client.base_url).rstrip("/")
    passwords = json.loads((root / ".airflow/passwords.json").read_text())
    with chromium() as browser:
        browser.set_window_size(1600, 1000)
        browser.set_script_timeout(LIMIT)  # a page that lays its graph out answers nothing
        browser.get(f"{address}/auth/login")
        wait = WebDriverWait(browser, LIMIT)
        fields = "return document.querySelectorAll(arguments[0]).length"
        wait.until(lambda b: b.execute_script(fields, "input[name=password]"))
        browser.find_element("css selector", "input[name=username]").send_keys("admin")
        browser.find_element("css selector", "input[name=password]").send_keys(passwords["admin"])
        browser.find_element("css selector", "button[type=submit]").click()
        wait.until(lambda b: "login" not in b.current_url)
        drawn = {
            "grid": f"return document.body.innerText.includes('l{LAYERS - 1:02}/')",
            "graph": f"return document.querySelectorAll('.react-flow__node').length >= {LAYERS}",
        }
        for view, script in drawn.items():
            browser.execute_script(f"localStorage.setItem('default_dag_view', '\"{view}\"')")
            began, used = time.monotonic(), _processor(browser.service.process.pid)
            browser.get(f"{address}/dags/large")
            wait.until(lambda b: b.execute_script(script))  # noqa: B023
            taken = time.monotonic() - began
            yield view, taken, _processor(browser.service.process.pid) - used
            browser.save_screenshot(str(root / f"{view}.png"))


def _processor(pid: int) -> float:
    """Seconds that a process and those below it took of a processor."""
    top = psutil.Process(pid)
    times = [process.cpu_times() for process in [top, *top.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


def _await(ready: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT
    while not ready():
        if time.monotonic() > deadline:
            sys.exit("waited for too long")
        time.sleep(1)


def main(browser: bool) -> None:
    """Prints all of it."""
    os.environ |= SETTINGS
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "p"
        (root / "dags").mkdir(parents=True)
        file = root / "dags" / "large_dag.py"
        make(root)
        file.write_text(DAG.format(root=str(root)))
        edges = root / "edges.json"
        code = MEASURED.format(root=str(root), file=str(file), edges=str(edges))
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True
        )
        for name, value in json.loads(done.stdout.splitlines()[-1]).items():
            print(f"{name:24} {value:10.2f}")
        print(f"{'dvc dag: the same edges':24} {require_edges_of_dvc(root, edges):10.2f}")
        began = time.monotonic()
        with airflow(root, {"large"}) as services:
            print(f"{'in the list after':24} {time.monotonic() - began:10.2f} s, from a cold start")
            for name, seconds, size in asked(services):
                print(f"{name:24} {seconds:10.2f} s {size:8.2f} MB")
            for name, seconds, used in opened(services, root) if browser else ():
                print(f"{name:24} {seconds:10.2f} s until it is drawn, {used:.2f} s of a processor")


if __name__ == "__main__":
    main("--browser" in sys.argv)

"""Runs a DAG through real Airflow task runs, step by step, in one process of its own.

Usage: ``python airflow_driver.py DAG_FILE DAG_ID < steps.json > results.json``. A step is a shell
command to run first and the answers to the trigger form, or null to clear the run before, as a
person does in the UI; its result holds what Airflow kept of the run. Starting Airflow takes
seconds, so the steps of a test share a process.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

KEPT = Path(__file__).parents[1] / f".pytest_cache/airflow-{version('apache-airflow')}.db"


def main(dag_file: str, dag_id: str) -> None:
    make_database()
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

    results: list[dict[str, Any]] = []
    for step in json.load(sys.stdin):
        subprocess.run(step["shell"], shell=True, check=True)
        bag = DagBag(dag_file, safe_mode=False)
        if bag.import_errors:
            results.append({"import_errors": list(bag.import_errors.values())})
            continue
        dag = bag.dags[dag_id]
        again = step["conf"] is None
        run = _again(dag, results[-1]["run_id"]) if again else dag.test(run_conf=step["conf"])
        results.append(_result(run, [task.task_id for task in dag.tasks]))
    # With its end and at once: what a listener's process logs meanwhile gets a line of its own.
    print(json.dumps(results) + "\n", end="", file=sys.__stdout__, flush=True)


def make_database() -> None:
    """Makes Airflow's database, and keeps a copy of it for later tests: a new one takes seconds."""
    home = Path(os.environ["AIRFLOW_HOME"])
    if (home / "airflow.db").exists() or copy_database(home):
        return
    from airflow.utils.db import initdb

    initdb()
    KEPT.parent.mkdir(exist_ok=True)
    part = KEPT.with_suffix(f".{os.getpid()}")
    with (
        closing(sqlite3.connect(home / "airflow.db")) as ours,
        closing(sqlite3.connect(part)) as copy,
    ):
        ours.backup(copy)
    part.replace(KEPT)


def copy_database(home: Path) -> bool:
    """Copies an earlier test's database, where there is one, with the mark of `housing run`."""
    if not KEPT.exists():
        return False
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(KEPT, home / "airflow.db")
    (home / "housing.migrated").write_text(version("apache-airflow"))
    return True


def _again(dag: DAG, run_id: str) -> DagRun:
    """Clears every task of a run, and runs it again: `dag.test` would make another run."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.state import DagRunState
    from sqlalchemy import select

    def cleared(*, dag: Any, session: Any, **_: object) -> DagRun:  # noqa: ANN401  # Airflow's own
        dag.clear(run_id=run_id, session=session)
        found: DagRun = session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()
        found.dag, found.state = dag, DagRunState.RUNNING
        return found

    with mock.patch("airflow.models.dagrun.get_or_create_dagrun", cleared):
        again: DagRun = dag.test()
    return again


def _result(run: DagRun, task_ids: list[str]) -> dict[str, Any]:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.hitl import HITLDetail
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        tasks = run.get_task_instances(session=session)
        states = {ti.task_id: str(ti.state) for ti in tasks}
        mapped: dict[str, list[str]] = {}
        for ti in tasks:
            if ti.map_index >= 0:
                mapped.setdefault(ti.task_id, []).append(str(ti.state))
        xcoms = session.scalars(select(XComModel).where(XComModel.run_id == run.run_id)).all()
        names = {ti.id: ti.task_id for ti in tasks}
        asked = session.scalars(select(HITLDetail).where(HITLDetail.ti_id.in_(names))).all()
        events = session.execute(
            select(AssetModel.uri, AssetEvent.extra)
            .join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
            .where(AssetEvent.source_run_id == run.run_id)
        ).all()
    return {
        "run_id": run.run_id,
        "state": str(run.state),
        "states": {task_id: states[task_id] for task_id in task_ids},
        "started": sorted(ti.task_id for ti in tasks if ti.try_number),
        "mapped": mapped,
        "xcoms": {f"{x.task_id}.{x.key}": XComModel.deserialize_value(x) for x in xcoms},
        "asked": {names[detail.ti_id]: detail.defaults for detail in asked},
        "events": {uri: extra for uri, extra in events},  # noqa: C416  # rows are no pairs to mypy
    }


if __name__ == "__main__":
    main(*sys.argv[1:])

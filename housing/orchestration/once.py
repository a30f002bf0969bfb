"""One run of a DAG by Airflow's own CLI, for `housing run`: tells each task's state as it changes.

Usage: ``python -m housing.orchestration.once EVENTS DAG_ID CONF``. EVENTS is the descriptor of a
socket: each change goes there as a line of JSON, and an answer is awaited, so that whoever reads it
can end this process between two tasks.
"""

from __future__ import annotations

import os
import socket
import sys


def main(events: int, dag_id: str, conf: str) -> None:
    """Runs the DAG once; ends as ``airflow dags test`` ends."""
    # Airflow goes on to print here; the descriptors 1 and 2 are left to the stages' commands. Its
    # import sets up its logging, so it comes after that.
    terminal = os.dup(1)
    sys.stdout = sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, errors="replace")
    from airflow.__main__ import main as airflow
    from airflow.sdk.listener import get_listener_manager

    from housing.orchestration.reporter import Output, Reporter

    connection = socket.socket(fileno=events)
    connection.set_inheritable(False)
    listeners = get_listener_manager()
    listeners.add_listener(Reporter(connection, Output(terminal)))  # type: ignore[no-untyped-call]  # Airflow's
    sys.argv = ["airflow", "dags", "test", dag_id, "--conf", conf]
    airflow()  # type: ignore[no-untyped-call]  # Airflow's


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

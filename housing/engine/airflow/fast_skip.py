"""Ending a task as skipped without a second's wait."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Collection

from housing.engine.airflow.compat import AirflowSkipException

_log = logging.getLogger(__name__)


def skipped(reason: str, tasks: Collection[str] = ()) -> AirflowSkipException:
    """Makes the exception to raise that ends this task as skipped, and seen to have ended at once.

    Airflow reports a success when the task says so, but a skip only when it sees the task's
    process gone. It looks when the last of the task's sockets closes, which the kernel does a
    moment before the process is gone, and then not before the next heartbeat, a second or more
    later. So a shell holds the task's output open until just after the end.

    Args:
        reason: What the task's log gives as the reason.
        tasks: Ids of tasks after this one that end as skipped with it, whatever their trigger rules
            are, and for which no process starts.
    """
    # Airflow logs the exception in a part of the log that its UI shows folded.
    _log.info("skipped: %s", reason)
    reading, _writing = os.pipe()  # the kernel closes the writing end when this process is gone
    subprocess.Popen(["/bin/sh", "-c", "read _; sleep 0.003"], stdin=reading)
    os.close(reading)
    if tasks:
        from airflow.sdk.execution_time import task_runner  # a running task has it already
        from airflow.sdk.execution_time.comms import SkipDownstreamTasks

        task_runner.SUPERVISOR_COMMS.send(SkipDownstreamTasks(tasks=sorted(tasks)))
    return AirflowSkipException(reason)

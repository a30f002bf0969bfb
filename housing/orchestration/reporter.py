"""What a run tells while it goes on: the states of its tasks, and their logs.

For `housing.orchestration.once`. ``airflow dags test`` only prints the tasks' logs. Here they also
go where Airflow keeps the logs of tasks, so that its UI shows them, together with what the stages'
commands print.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance


class TaskLog(logging.Handler):
    """Copies what is logged while a task runs into the file where Airflow keeps this task's log.

    Airflow's records come by two ways, structlog and the standard library; both have passed
    Airflow's masking of secrets here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._file: TextIO | None = None
        render = (structlog.processors.format_exc_info, structlog.processors.JSONRenderer())
        self._render = render
        # Loggers that exist already hold this very list.
        chain: list[Any] = structlog.get_config()["processors"]
        chain.insert(len(chain) - 1, self._copy)
        root = logging.getLogger()
        known = next(
            handler.formatter
            for handler in root.handlers
            if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter)
        )
        self.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[*known.processors[:-1], *render],
                foreign_pre_chain=known.foreign_pre_chain,
                use_get_message=False,
                pass_foreign_args=True,
            )
        )
        root.addHandler(self)

    def begin(self, ti: RuntimeTaskInstance) -> Path:
        """Starts the log of a task, and returns its path."""
        from airflow.sdk.log import init_log_file
        from airflow.utils.helpers import log_filename_template_renderer

        self.end()
        path = init_log_file(log_filename_template_renderer()(ti=ti, try_number=ti.try_number))
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        return path

    def end(self) -> None:
        """Ends the log of the task."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record of the standard library."""
        if self._file is not None:
            self._file.write(f"{self.format(record)}\n")

    def _copy(self, logger: Any, name: str, event: Any) -> Any:  # noqa: ANN401  # structlog's
        if self._file is not None:
            line: Any = dict(event)
            for processor in self._render:
                line = processor(logger, name, line)
            self._file.write(f"{line}\n")
        return event


class Output:
    """What the commands of the stages print, line by line; it goes to this process's output, too.

    Airflow itself prints to the old output, see `housing.orchestration.once`.

    Args:
        terminal: Descriptor of the old output.
    """

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._mark = secrets.token_bytes(16).hex().encode()
        self._reached = threading.Event()
        self.log: TaskLog | None = None
        reading, writing = os.pipe()
        for descriptor in (1, 2):
            os.dup2(writing, descriptor)
        os.close(writing)
        threading.Thread(target=self._read, args=(reading,), daemon=True).start()

    def drain(self) -> None:
        """Waits until all that was printed so far is in the log of the task."""
        self._reached.clear()
        os.write(1, b"\n" + self._mark + b"\n")
        self._reached.wait()

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if line.strip() == self._mark:
                    self._reached.set()
                    continue
                os.write(self._terminal, line)
                text = line.decode(errors="backslashreplace").rstrip()
                if self.log and text:
                    record = logging.LogRecord("stage", logging.INFO, "", 0, text, (), None)
                    self.log.handle(record)


class Reporter:
    """Airflow calls it when a task changes its state.

    Args:
        events: Where the states go.
        output: What the stages print.
    """

    def __init__(self, events: socket.socket, output: Output) -> None:
        self._events = events
        self._output = output
        self._log: TaskLog | None = None
        self._path = ""

    @hookimpl
    def on_task_instance_running(self, task_instance: RuntimeTaskInstance) -> None:
        """A task starts."""
        self._log = self._output.log = self._log or TaskLog()  # Airflow has set up its logging
        self._path = str(self._log.begin(task_instance))
        self._tell(task_instance, "running", None)

    @hookimpl
    def on_task_instance_success(self, task_instance: RuntimeTaskInstance) -> None:
        """A task did its work."""
        self._end(task_instance, "success")

    @hookimpl
    def on_task_instance_skipped(self, task_instance: RuntimeTaskInstance) -> None:
        """A task had nothing to do."""
        self._end(task_instance, "skipped")

    @hookimpl
    def on_task_instance_failed(self, task_instance: RuntimeTaskInstance) -> None:
        """A task failed."""
        self._end(task_instance, "failed")

    def _end(self, ti: RuntimeTaskInstance, state: str) -> None:
        self._output.drain()
        result = None if state == "failed" else ti.xcom_pull(task_ids=ti.task_id)
        self._tell(ti, state, result)
        if self._log:
            self._log.end()

    def _tell(self, ti: RuntimeTaskInstance, state: str, result: object) -> None:
        event = {
            "run_id": ti.run_id,
            "task_id": ti.task_id,
            "state": state,
            "log": self._path,
            "result": result,
        }
        self._events.sendall(json.dumps(event, default=str).encode() + b"\n")
        self._events.recv(1)

"""Triggers the DAG of a running stack by Airflow's REST API, waits, and exits with its state.

``python scripts/run_once.py URL``, with ``AIRFLOW_ADMIN_PASSWORD`` in the environment, as `.env`
gives it to the stack's services.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

DAG = "housing_ml_pipeline"
ENDED = {"success", "failed"}


class AirflowApi:
    """The few calls of Airflow's REST API that a run from outside needs.

    Args:
        url: Where the API server listens.
        password: The password of the user ``admin``.
    """

    def __init__(self, url: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=60)
        self._login = {"username": "admin", "password": password}

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Calls the API as admin; a token that ended, or none yet, is asked for anew.

        Raises:
            httpx.HTTPError: The server did not answer, or with an error.
        """
        answer = self._client.request(method, f"/api/v2{path}", json=body)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            token = self._client.post("/auth/token", json=self._login).raise_for_status().json()
            self._client.headers["Authorization"] = f"Bearer {token['access_token']}"
            answer = self._client.request(method, f"/api/v2{path}", json=body)
        content: dict[str, Any] = answer.raise_for_status().json()
        return content

    def trigger(self, **conf: object) -> str:
        """Unpauses the DAG, starts a run with these DAG params, and returns the run's id.

        A stack that just started may not have read the DAG yet: this waits for it.

        Raises:
            TimeoutError: The DAG did not appear in time.
        """
        self._until(lambda: DAG in self._dags(), 120, f"Airflow has no DAG {DAG}")
        self.call("PATCH", f"/dags/{DAG}", {"is_paused": False})
        return str(
            self.call("POST", f"/dags/{DAG}/dagRuns", {"logical_date": None, "conf": conf})[
                "dag_run_id"
            ]
        )

    def runs(self) -> list[str]:
        """The ids of the runs, the first one first."""
        found = self.call("GET", f"/dags/{DAG}/dagRuns?order_by=start_date")["dag_runs"]
        return [run["dag_run_id"] for run in found]

    def state(self, run: str) -> str:
        """The state of a run."""
        return str(self.call("GET", f"/dags/{DAG}/dagRuns/{run}")["state"])

    def tasks(self, run: str) -> dict[str, str]:
        """The state of each task of a run, in the order of their start."""
        path = f"/dags/{DAG}/dagRuns/{run}/taskInstances?order_by=start_date"
        found = self.call("GET", path)["task_instances"]
        return {task["task_id"]: str(task["state"]) for task in found}

    def wait(self, run: str, seconds: float = 3600) -> str:
        """Waits for the end of a run and returns its state.

        Raises:
            TimeoutError: The run did not end in time.
        """
        self._until(lambda: self.state(run) in ENDED, seconds, f"{run} has not ended")
        return self.state(run)

    def _dags(self) -> set[str]:
        return {dag["dag_id"] for dag in self.call("GET", "/dags")["dags"]}

    @staticmethod
    def _until(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
        limit = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > limit:
                message = f"{otherwise} after {seconds:.0f} s"
                raise TimeoutError(message)
            time.sleep(1)


def main() -> int:
    """Runs the DAG once and shows its tasks' states."""
    api = AirflowApi(sys.argv[1], os.environ["AIRFLOW_ADMIN_PASSWORD"])
    run = api.trigger()
    print(f"triggered {run}", flush=True)
    state = api.wait(run)
    for task, task_state in api.tasks(run).items():
        print(f"{task:32} {task_state}")
    print(f"{run}: {state}")
    return 0 if state == "success" else 1


if __name__ == "__main__":
    sys.exit(main())

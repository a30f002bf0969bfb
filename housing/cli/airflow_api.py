"""What this command line asks of a running Airflow, by its REST API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import httpx

_TIMEOUT = 10.0


class AirflowApi:
    """Airflow's REST API on this machine.

    Args:
        url: Where the API server listens.
        passwords: The file of its login: `AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE`.
    """

    def __init__(self, url: str, passwords: Path) -> None:
        # A proxy of the environment knows nothing of this machine.
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False)
        self._passwords = passwords

    @property
    def password(self) -> str:
        """The password of the user ``admin``, which Airflow makes when it first starts.

        Raises:
            OSError: There is no such file.
        """
        return str(json.loads(self._passwords.read_text(encoding="utf-8"))["admin"])

    def health(self) -> dict[str, bool]:
        """Whether each part is healthy, as Airflow's own monitor sees it.

        Raises:
            httpx.HTTPError: The server does not answer, or with an error.
        """
        found = self._client.get("/api/v2/monitor/health").raise_for_status().json()
        return {part: state.get("status") == "healthy" for part, state in found.items()}

    def tasks(self, *states: str) -> list[dict[str, Any]]:
        """The task instances of all runs that are in one of these states.

        Raises:
            httpx.HTTPError: The server does not answer, or with an error.
            OSError: The password is not known.
        """
        return self._listed("~/dagRuns/~/taskInstances", "task_instances", state=states)

    def runs(self, *states: str) -> list[dict[str, Any]]:
        """The runs of all DAGs that are in one of these states.

        Raises:
            httpx.HTTPError: The server does not answer, or with an error.
            OSError: The password is not known.
        """
        return self._listed("~/dagRuns", "dag_runs", state=states)

    def questions(self) -> list[dict[str, Any]]:
        """The questions that wait for a person's answer, see Airflow's human in the loop.

        Raises:
            httpx.HTTPError: The server does not answer, or with an error.
            OSError: The password is not known.
        """
        return self._listed(
            "~/dagRuns/~/hitlDetails",
            "hitl_details",
            response_received="false",
            state=("awaiting_input", "deferred"),
        )

    def _listed(self, what: str, key: str, **asked: str | tuple[str, ...]) -> list[dict[str, Any]]:
        """Up to 100 things below all DAGs."""
        path, wanted = f"/api/v2/dags/{what}", {"limit": "100", **asked}
        answer = self._client.get(path, params=wanted)
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # the first time, and after a day
            login = {"username": "admin", "password": self.password}
            token = self._client.post("/auth/token", json=login).raise_for_status().json()
            self._client.headers["Authorization"] = f"Bearer {token['access_token']}"
            answer = self._client.get(path, params=wanted)
        return cast("list[dict[str, Any]]", answer.raise_for_status().json()[key])

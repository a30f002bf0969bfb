"""The house-price pipeline on the workers of `workers_site`: from the first run to a folder with
all that made version 1.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
from s3fs import S3FileSystem

from tests.workers_parts import Repository, wait
from tests.workers_site import ROOT, Site

DAG = "housing_ml_pipeline"


class Houses:
    """The project as a git repository whose DVC remote is the site's S3, with an MLflow server.

    Args:
        site: The site, before it starts.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.mlflow = f"http://127.0.0.1:{site.mlflow}"
        self.repository = Repository(site.base, "houses")

    def make(self) -> None:
        """Commits what git knows of the project as it lies here, without any result."""
        seed = self.repository.create()
        listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
        for name in filter(None, listed.split("\0")):
            target = seed / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy2(ROOT / name, target)
        (seed / "dvc.lock").unlink()
        (seed / ".dvc/config").write_text(self.site.remote("houses"))
        self.repository.push()

    def states(self, run: str) -> dict[str, str]:
        """The state of each task of a run."""
        url = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances"
        found = self.site.client.get(url).raise_for_status().json()["task_instances"]
        return {task["task_id"]: str(task["state"]) for task in found}

    def stages(self, run: str) -> dict[str, dict[str, Any]]:
        """The records of the stages."""
        after = {"validate_model", "promote_to_staging", "send_failure_alert", "write_back"}
        after |= {"notify_slack", "notify_mail", "update_dashboard", "summarize_run"}
        tasks = set(self.states(run)) - after
        return {task: self.site.result(run, task, DAG) for task in sorted(tasks)}

    def staging(self) -> str:
        """The version that the alias `staging` points to."""
        query = {"name": "housing-price", "alias": "staging"}
        url = f"{self.mlflow}/api/2.0/mlflow/registered-models/alias"
        answer = httpx.get(url, params=query, timeout=60)
        return str(answer.json()["model_version"]["version"]) if answer.is_success else ""

    def page(self) -> str:
        """The dashboard as Airflow's API server shows it."""
        answer = self.site.client.get("/housing-dashboard/")
        return answer.text if answer.is_success else ""

    def refused(self) -> str:
        """Why the DAG of batch scoring is none here."""
        errors = self.site.client.get("/api/v2/importErrors").raise_for_status().json()
        found = [e["stack_trace"] for e in errors["import_errors"] if "batch" in e["filename"]]
        return "".join(found)

    def call(self, *words: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Calls the command `housing` in a clone."""
        env = self.site.env | {"HOUSING_ROOT": str(folder)} | env
        return subprocess.run(
            ["housing", *words], cwd=folder, env=env, capture_output=True, text=True, check=False
        )

    def reproduce(self, version: str) -> tuple[int, dict[str, Any]]:
        """Reproduces a version in an empty folder, from a clone without a cache."""
        clone = self.repository.clone("other")
        done = self.call(
            "reproduce", version, "--into", str(self.site.base / "third"), "--json", folder=clone
        )
        if not done.stdout:
            raise SystemExit(done.stderr)
        return done.returncode, json.loads(done.stdout)

    def price(self, name: str) -> dict[str, Any]:
        """Prices the delivery of the project as an object of the S3 server."""
        url = f"http://127.0.0.1:{self.site.gate.port}"
        delivery = sorted((ROOT / "data/landing").glob("*.csv"))[0]
        httpx.put(f"{url}/bucket/{name}", content=delivery.read_bytes()).raise_for_status()
        folder = self.repository.clone("pricing")
        words = ["predict", f"s3://bucket/{name}", "--into", "s3://bucket/prices", "--json"]
        done = self.call(*words, "--alias", "staging", folder=folder, AWS_ENDPOINT_URL=url)
        if done.returncode:
            raise SystemExit(done.stderr)
        told: dict[str, Any] = json.loads(done.stdout)
        # What `housing predict` writes is private, so a plain GET is turned away.
        storage = S3FileSystem(endpoint_url=url, key="test", secret="test")
        told["bytes"] = storage.size(told["predictions"])
        return told

    def wait(self) -> None:
        """Waits until Airflow has the DAG of the newest commit."""
        head = self.repository.head
        wait("the DAG of houses", lambda: self.site.version(DAG) == head())

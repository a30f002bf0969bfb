"""Airflow with two Celery workers in namespaces of their own, Redis, S3 and git, in one folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.workers_parts import Gate, Repository, free_port, wait
from tests.workers_pipeline import files as pipeline_files
from tests.workers_postgres import Postgres

ROOT = Path(__file__).parents[1]
SLOTS = 4  # of a worker
ENDED = {"success", "failed"}
CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


class Site:
    """All services, in one folder."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.pipe = Repository(base, "pipe")
        self.log = (base / "log").open("w")
        self.s3_log = base / "s3.log"
        self.redis, self.api, self.mlflow, s3 = (free_port() for _ in range(4))
        self.database = Postgres(base / "postgres", free_port())
        self.gate = Gate(s3)
        self._s3 = s3
        self.reading = 2  # seconds between two looks at the DAG files
        self.services: dict[str, subprocess.Popen[bytes]] = {}
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.api}", timeout=60)

    @property
    def env(self) -> dict[str, str]:
        """What every part of Airflow gets; a worker has other folders at the same paths."""
        own = self.base / "own"
        bundles = [
            {
                "name": name,
                "classpath": "airflow.providers.git.bundles.git.GitDagBundle",
                "kwargs": {
                    "tracking_ref": "main",
                    "repo_url": str(self.base / f"{name}.git"),
                    "subdir": "dags",
                    "refresh_interval": self.reading,
                },
            }
            for name in ("pipe", "houses")
        ]
        local = "airflow.dag_processing.bundles.local.LocalDagBundle"
        shared = {"path": str(self.base / "shared/dags"), "refresh_interval": self.reading}
        bundles.append({"name": "shared", "classpath": local, "kwargs": shared})
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("AIRFLOW", "HOUSING", "DVC_", "MLFLOW"))
        }
        celery_config = "housing.engine.airflow.celery_config"
        return {
            **kept,
            "AIRFLOW_HOME": str(own / "airflow"),
            "HOUSING_WORKSPACES": str(own / "host"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database.url,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": self.database.url,
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.api}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret that all parts share, " * 3,
            "AIRFLOW__API__SECRET_KEY": "another secret of all parts of Airflow here",
            # 16 by default: with the one stage beside the 16 branches, the last would have to wait.
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32",
            "AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS": f"{celery_config}.CELERY_CONFIG",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{self.redis}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"redis://127.0.0.1:{self.redis}/1",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(own / "bundles"),
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": str(self.reading),
            "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            # On a busy machine the API server's first answer takes longer than the 5 s by default.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "HOUSING_WORKSPACE_KIND": "isolated",
            "HOUSING_RETRIES": "4",
            "HOUSING_RETRY_DELAY": "5",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.mlflow}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",  # where a worker has no credentials
            "DVC_NO_ANALYTICS": "1",
        }

    def start(self, *others: Callable[[], None]) -> None:
        """Starts everything, makes the repositories, and waits for the DAG."""
        (self.base / "own").mkdir()
        self.services["database"] = self.database.start(self.log)
        self._service("redis-server", "--port", str(self.redis), "--save", "")
        self._service("moto_server", "-H", "127.0.0.1", "-p", str(self._s3), log=self.s3_log)
        self._service(
            *("mlflow", "server", "--workers", "1", "--host", "127.0.0.1"),
            *("--port", str(self.mlflow), "--uvicorn-opts", "--timeout-keep-alive 120"),
            *("--backend-store-uri", f"sqlite:///{self.base}/mlflow.db"),
            *("--artifacts-destination", str(self.base / "artifacts")),
        )
        url = f"http://127.0.0.1:{self._s3}"
        wait("the database", self.database.is_ready)
        wait("S3", lambda: httpx.put(f"{url}/bucket").is_success)
        for make in (self._make_pipe, *others):
            make()
        done = ["airflow", "db", "migrate"]
        subprocess.run(done, env=self.env, stdout=self.log, stderr=self.log, check=True)
        self._service("airflow", "api-server", "--host", "127.0.0.1", "--port", str(self.api))
        self._service("airflow", "dag-processor")
        self._service("airflow", "scheduler", "--skip-serve-logs")
        for name in ("one", "two"):
            self.start_worker(name)
        wait("the API server", self._login)
        self.settle()

    def read_seldom(self, seconds: int) -> None:
        """Lets Airflow read the DAG files as seldom as an installation does, where time counts."""
        self.reading = seconds
        self.services["dag-processor"].terminate()
        self.services["dag-processor"].wait()
        self._service("airflow", "dag-processor")

    def _login(self) -> bool:
        token = self.client.get("/auth/token").raise_for_status().json()["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"
        return True

    def version(self, dag: str) -> str:
        """The commit of a DAG that Airflow knows."""
        answer = self.client.get(f"/api/v2/dags/{dag}").raise_for_status().json()
        return str(answer["bundle_version"])

    def _service(self, *command: str, log: Path | None = None) -> None:
        out = log.open("w") if log else self.log
        name = command[1] if command[0] == "airflow" else command[0]
        self.services[name] = subprocess.Popen(
            command, env=self.env, cwd=self.base, stdout=out, stderr=out
        )

    def start_worker(self, name: str, *, credentials: bool = True) -> None:
        """Starts a worker with whatever folders it has, or with none.

        Args:
            name: Its name, and its host's.
            credentials: It has those of the S3 server.
        """
        env = {k: v for k, v in self.env.items() if credentials or k not in CREDENTIALS}
        folder, own = self.base / name, self.base / "own"
        folder.mkdir(exist_ok=True)
        script = (
            f"hostname {name} && mount --bind {folder} {own} && cd {own} && exec airflow celery "
            f"worker --concurrency {SLOTS} --celery-hostname {name}@%h --skip-serve-logs"
        )
        unshare = ["unshare", "--mount", "--pid", "--fork", "--uts", "--mount-proc", "--kill-child"]
        with (self.base / f"{name}.log").open("a") as log:
            self.workers[name] = subprocess.Popen(
                [*unshare, "sh", "-c", script], env=env, stdout=log, stderr=log
            )

    def start_shared_worker(self) -> None:
        """Starts a worker for the folder ``shared``, with all slots of the two others."""
        env = self.env | {"HOUSING_WORKSPACES": str(self.base / "shared-host/host")}
        (self.base / "shared-host/host").mkdir(parents=True)
        command = ["airflow", "celery", "worker", "--queues", "shared", "--skip-serve-logs"]
        command += ["--concurrency", str(2 * SLOTS), "--celery-hostname", "shared@%h"]
        self.services["shared"] = subprocess.Popen(
            command, env=env, stdout=self.log, stderr=self.log
        )

    def kill_worker(self, name: str, *, disk: bool = True) -> None:
        """Ends a worker with all its processes.

        Args:
            name: Its name.
            disk: Its folders are gone as well.
        """
        worker = self.workers.pop(name)
        worker.send_signal(signal.SIGKILL)  # ends the first process of its namespace, and so all
        worker.wait()
        if disk:
            shutil.rmtree(self.base / name)

    def remote(self, name: str) -> str:
        """DVC's config with a default remote in the S3 server."""
        return (
            "[core]\n    analytics = false\n    autostage = false\n    remote = s3\n"
            '[cache]\n    type = "reflink,copy"\n[\'remote "s3"\']\n'
            f"    url = s3://bucket/{name}\n    endpointurl = http://127.0.0.1:{self.gate.port}\n"
        )

    def _make_pipe(self) -> None:
        seed = self.pipe.create()
        for name, text in pipeline_files(self.remote("pipe")).items():
            (seed / name).parent.mkdir(exist_ok=True)
            (seed / name).write_text(text)
        self.pipe.push()

    def change(self, name: str, text: str) -> None:
        """Commits a change, and waits until Airflow has it."""
        self.pipe.change(name, text)
        self.settle()

    def settle(self) -> None:
        """Waits until Airflow has the newest commit."""
        wait("the newest commit", lambda: self.version("pipe") == self.pipe.head())

    def trigger(self, dag: str = "pipe", **conf: Any) -> str:  # noqa: ANN401 - answers to the form
        """Starts a run."""
        body = {"logical_date": None, "conf": conf}
        answer = self.client.post(f"/api/v2/dags/{dag}/dagRuns", json=body).raise_for_status()
        return str(answer.json()["dag_run_id"])

    def finish(self, run: str, dag: str = "pipe", state: str = "success") -> float:
        """Waits for the end of a run, which has to be a success or the state given; its seconds."""
        url = f"/api/v2/dags/{dag}/dagRuns/{run}"
        found = wait(
            f"the end of {run}",
            lambda: (said := self.client.get(url).json())["state"] in ENDED and said,
        )
        if found["state"] != state:
            raise SystemExit(f"{run} ended as {found['state']}; see {self.base}")
        return float(found["duration"])

    def add_connection(self, name: str, kind: str, login: str, password: str) -> None:
        """Makes an Airflow connection."""
        body = {"connection_id": name, "conn_type": kind, "login": login, "password": password}
        self.client.post("/api/v2/connections", json=body).raise_for_status()

    def state(self, run: str, task: str) -> str:
        """The state of a task of a run."""
        url = f"/api/v2/dags/pipe/dagRuns/{run}/taskInstances/{task}"
        return str(self.client.get(url).raise_for_status().json()["state"])

    def xcom(self, run: str, task: str, key: str, dag: str = "pipe") -> Any:  # noqa: ANN401 - JSON
        """What a task left in XCom."""
        entry = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{key}"
        value = self.client.get(entry, params={"deserialize": "true"}).raise_for_status()
        return value.json()["value"]

    def result(self, run: str, task: str, dag: str = "pipe") -> dict[str, Any]:
        """What the task of a stage returned."""
        found: dict[str, Any] = self.xcom(run, task, "return_value", dag)
        return found

    def ran(self) -> dict[str, list[str]]:
        """The commands that ran, by worker."""
        files = {name: self.base / name / "ran" for name in ("one", "two")}
        return {n: f.read_text().split() if f.exists() else [] for n, f in files.items()}

    def forget(self) -> None:
        """Forgets what ran, and empties the hosts' workspaces and caches."""
        for name in ("one", "two"):
            (self.base / name / "ran").unlink(missing_ok=True)
            shutil.rmtree(self.base / name / "host", ignore_errors=True)

    def requests(self) -> Counter[str]:
        """How often the S3 server was asked, by method, since it started."""
        return Counter(re.findall(r'"(GET|HEAD|PUT|POST|DELETE) ', self.s3_log.read_text()))

    def stop(self) -> None:
        """Ends everything."""
        for worker in self.workers.values():
            worker.kill()  # and with it its namespace; `unshare` passes no other signal on
            worker.wait()
        for process in reversed(self.services.values()):
            process.terminate()
        for process in self.services.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """All of it in a new folder, which stays where something failed; it is not started."""
    base = Path(tempfile.mkdtemp(prefix="workers-"))
    base.chmod(0o755)  # PostgreSQL runs as a user of its own
    made = Site(base)
    try:
        yield made
    finally:
        made.stop()
    shutil.rmtree(base)

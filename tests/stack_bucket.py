"""The stack with a bucket: task logs, MLflow's artifacts and DVC's remote in S3, here moto's."""

from __future__ import annotations

import json

from tests.stack_attacks import logged_model
from tests.stack_services import (
    DAG,
    LONG_STAGE,
    PROJECT,
    SCHEDULER,
    Stack,
    check,
    docker,
    say,
    until,
)

SERVER = f"{PROJECT}-s3"
URL = f"http://{SERVER}:5000"
BUCKET = "housing"
MOTO = """
FROM python:3.12-slim-bookworm
RUN python3 -m venv /moto && /moto/bin/pip install --quiet 'moto[s3,server]>=5'
"""
FILES = "docker-compose.yaml:docker/s3/compose.yaml"
KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
PLACE = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": URL}
MOVE = f"import s3fs; s3fs.S3FileSystem().put('/mlflow/', '{BUCKET}/mlflow/', recursive=True)"
"""As in docs/stack.md."""
LIST = """
import boto3, sys
for page in boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=sys.argv[1]):
    for one in page.get("Contents", []):
        print(one["Key"])
"""


def keeps_in_a_bucket(stack: Stack) -> None:
    """As docs/stack.md says: logs and artifacts go there, and are read from there."""
    say("putting logs, artifacts and DVC's remote into a bucket")
    docker("build", "-q", "-t", SERVER, "-", text=MOTO)
    server = ("/moto/bin/moto_server", "-H", "0.0.0.0", "-p", "5000")
    docker("run", "-d", "--name", SERVER, "--network", f"{PROJECT}_airflow", SERVER, *server)
    docker("network", "connect", f"{PROJECT}_tracking", SERVER)
    stack.env |= {"COMPOSE_FILE": FILES, "BUCKET": BUCKET, **KEYS, **PLACE}
    try:
        stack.up()
        _python(stack, "import boto3, sys; boto3.client('s3').create_bucket(Bucket=sys.argv[1])")
        stack.inside("mlflow", "python", "-c", MOVE)
        run = stack.airflow.trigger(dvc_force="all")
        stack.ends_well(run)
        until(lambda: f"run_id={run}" in _python(stack, LIST), "a log arrives in the bucket")
        _logs_are_read_from_there(stack, run)
        _remote_is_there(stack)
        _artifacts_are_there(stack)
    finally:
        for name in ("COMPOSE_FILE", "BUCKET", *KEYS, *PLACE):
            stack.env.pop(name)
        docker("rm", "-f", SERVER)


def _python(stack: Stack, code: str) -> str:
    return stack.inside(SCHEDULER, "python", "-c", code, BUCKET)


def _logs_are_read_from_there(stack: Stack, run: str) -> None:
    """Also after the volume with the logs was lost."""
    log = f"logs/dag_id=housing_ml_pipeline/run_id={run}/task_id={LONG_STAGE}"
    check(log in _python(stack, LIST), f"the log of {LONG_STAGE} is in the bucket")
    stack.inside(SCHEDULER, "sh", "-c", "rm -rf /airflow/logs/dag_id=housing_ml_pipeline")
    path = f"{DAG}/dagRuns/{run}/taskInstances/{LONG_STAGE}/logs/1?full_content=true"
    check("dvc repro" in json.dumps(stack.airflow.call("GET", path)), "the UI reads it from there")


def _remote_is_there(stack: Stack) -> None:
    stack.inside(
        SCHEDULER,
        *("sh", "-c"),
        f"dvc remote add --quiet --local bucket s3://{BUCKET}/dvc && dvc push --quiet -r bucket"
        " && dvc remote remove --local bucket",
    )
    check("dvc/files/md5/" in _python(stack, LIST), "DVC pushes to the bucket")


def _artifacts_are_there(stack: Stack) -> None:
    """Those from before, and new ones."""
    old = f"{logged_model(stack, stack.promoted()[1])}/MLmodel"
    new = f"{old.rpartition('/')[0]}-beside/note.txt"
    stack.mlflow.put(new, content="kept").raise_for_status()
    there = _python(stack, LIST)
    for url in (old, new):
        check(stack.mlflow.get(url).is_success, f"MLflow hands {url.rpartition('/')[2]} through")
        check(f"mlflow/{url.partition('/artifacts/')[2]}" in there, "it is in the bucket")

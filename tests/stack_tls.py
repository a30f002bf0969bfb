"""The stack opened to others: TLS in front, and a limit on passwords tried."""

from __future__ import annotations

import ssl
import subprocess

import httpx

from tests.stack_services import Stack, check, docker, free_port, say, until

HOST = "localhost"
IMAGE = "housing-stack-test-nginx"
NGINX = """
FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends nginx-light
"""
"""nginx on a base that is there already."""
FILES = "docker-compose.yaml:docker/tls/compose.yaml"


def opens_by_tls(stack: Stack) -> None:
    """As docs/stack.md says, with a certificate of our own."""
    say("putting TLS in front")
    docker("build", "-q", "-t", IMAGE, "-", text=NGINX)
    folder = stack.folder / "tls"
    folder.mkdir()
    key, chain = folder / "privkey.pem", folder / "fullchain.pem"
    names = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
    files = ("-keyout", str(key), "-out", str(chain))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names, *files],
        check=True,
        capture_output=True,
    )
    airflow, mlflow = free_port(), free_port()
    lines = {
        "COMPOSE_FILE": FILES,
        "NGINX_IMAGE": IMAGE,
        "TLS_FOLDER": str(folder),
        "PUBLIC_HOST": HOST,
        "HTTPS_PORT": str(airflow),
        "MLFLOW_HTTPS_PORT": str(mlflow),
    }
    stack.env |= lines
    stack.up()
    trusting = httpx.Client(verify=ssl.create_default_context(cafile=str(chain)), timeout=60)
    with trusting:
        page = f"https://{HOST}:{airflow}"
        until(lambda: answers(trusting, f"{page}/api/v2/version"), "the proxy answers")
        login = {"username": "admin", "password": stack.password["AIRFLOW_ADMIN_PASSWORD"]}
        token = trusting.post(f"{page}/auth/token", json=login).raise_for_status().json()
        bearer = {"Authorization": f"Bearer {token['access_token']}"}
        dags = trusting.get(f"{page}/api/v2/dags", headers=bearer)
        check(dags.status_code == httpx.codes.OK, "Airflow answers over TLS")
        inner = trusting.get(f"{page}/execution/health").status_code
        check(inner == httpx.codes.NOT_FOUND, "the tasks' API is not offered")
        tries = [
            trusting.post(f"{page}/auth/token", json=login | {"password": f"guess {n}"})
            for n in range(12)
        ]
        last = tries[-1].status_code
        check(last == httpx.codes.TOO_MANY_REQUESTS, f"the twelfth password in a row: {last}")
        models = f"https://{HOST}:{mlflow}/api/2.0/mlflow/experiments/search"
        found = {"max_results": 1}
        check(trusting.post(models, json=found).status_code == 401, "MLflow asks for a login")
        origin = {"Origin": f"https://{HOST}:{mlflow}"}
        known = trusting.post(models, json=found, auth=stack.login, headers=origin)
        check(known.status_code == httpx.codes.OK, "MLflow answers its own pages over TLS")
        guesses = [trusting.post(models, json=found, auth=("admin", f"{n}")) for n in range(12)]
        codes = [guess.status_code for guess in guesses]
        check(codes[0] == httpx.codes.UNAUTHORIZED, f"MLflow refuses a wrong password: {codes[0]}")
        check(codes[-1] == httpx.codes.FORBIDDEN, f"it is not asked for the twelfth: {codes[-1]}")
        last = trusting.post(models, json=found, auth=stack.login).status_code
        check(last == httpx.codes.OK, "who is logged in works on")
    stack.compose("down")
    for name in lines:
        stack.env.pop(name)


def answers(client: httpx.Client, url: str) -> bool:
    """Whether the proxy and what is behind it answer."""
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False

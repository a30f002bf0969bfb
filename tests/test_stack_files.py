"""What can be said of the stack without Docker; `make stack-test` runs it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from housing.engine import graph

ROOT = Path(__file__).resolve().parent.parent
KEPT = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())


def _variables(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _is_kept(path: str) -> bool:
    return any(path == kept or path.startswith(f"{kept}/") for kept in KEPT)


def test_every_place_of_local_env_is_named_anew_for_the_stack() -> None:
    below_project = {k for k, v in _variables("local.env").items() if "$" in v}
    assert below_project <= set(_variables("docker/airflow.env"))


def test_the_image_holds_all_that_the_stages_read() -> None:
    stages = graph.load(ROOT).stages
    made = {out for stage in stages for out in stage.outs}
    folders = {"models", "reports/training"}  # of outs
    read = {dep for stage in stages for dep in stage.deps} - made - folders
    assert {path for path in read if not _is_kept(path)} == set()


def test_the_image_holds_no_secret_and_no_state() -> None:
    assert not any(_is_kept(path) for path in (".env", ".git/config", ".dvc/cache", "dvc.lock"))


def test_every_published_port_is_on_loopback() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_are_generated_once_and_for_the_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "env"
    for _ in range(2):
        subprocess.run([ROOT / "scripts/secrets", file], check=True, capture_output=True)
    first = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other"
    subprocess.run([ROOT / "scripts/secrets", other], check=True, capture_output=True)
    pairs = [line.split("=", 1) for line in first.splitlines() if not line.startswith("#")]
    assert all(len(value) >= 32 and value not in other.read_text() for _, value in pairs)


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    words = ("PASSWORD: ", "SECRET: ", "SECRET_KEY: ", "FERNET_KEY: ", "_AUTH: ")
    found = {word: [line for line in text.splitlines() if word in line] for word in words}
    assert all(found.values())  # a word that is in no line would prove nothing
    lines = [line for one in found.values() for line in one]
    assert all("${" in line and ":?run make secrets}" in line for line in lines)


def test_generated_secrets_are_those_that_compose_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "env"
    subprocess.run([ROOT / "scripts/secrets", file], check=True, capture_output=True)
    made = {line.split("=")[0] for line in file.read_text().splitlines() if line[0] != "#"}
    text = (ROOT / "docker-compose.yaml").read_text()
    asked = {part.split(":?")[0] for part in text.split("${")[1:] if ":?run make" in part[:60]}
    assert made == asked
    assert os.access(ROOT / "scripts/secrets", os.X_OK)

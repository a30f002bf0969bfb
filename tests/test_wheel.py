"""The engine as another team gets it: a wheel, beside no more packages than it asks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests import foreign

ROOT = Path(__file__).parents[1]
LINEAGE = "apache-airflow-providers-openlineage"
NAMESPACE = "dvc://git.example/team/churn"
STEPS = ["cold", "same content after the first stage", "overridden"]
HEAVY = {"mlflow", "pandas", "polars", "pyarrow", "scipy", "xgboost"}
BLOCKER = """
import os, sys

class Blocker:
    # What is no package that the base asks for cannot be imported, as if it were not installed.
    hidden = set(os.environ["HIDDEN"].split())

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    uv = [str(ROOT / "scripts/uv"), "build", "--quiet", "--wheel", "--out-dir", str(folder)]
    subprocess.run(uv, cwd=ROOT, check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def described(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as content:
        (name,) = (n for n in content.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_bytes(content.read(name))


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements: list[str]) -> set[str]:
    """Every package that an installation of these gets, by its plain name."""
    waiting = list(_required(requirements))
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            asked = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform or version of Python
        found.add(name)
        waiting += _required(asked)
    return found


def _required(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        if not re.search(r";.*\bextra\s*==", requirement):
            yield plain(re.split(r"[\s;\[<>=!~(]", requirement, maxsplit=1)[0])


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "housing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
    assert names == set(listed.stdout.splitlines())
    assert "housing/py.typed" in names


def test_an_installation_without_extras_gets_the_engine_alone(
    wheel: Path, described: Message
) -> None:
    base = closure(described.get_all("Requires-Dist", []))
    assert {"apache-airflow", "dvc", "pydantic"} <= base
    assert base & HEAVY == set()
    assert "houses" in described.get_all("Provides-Extra", [])
    with zipfile.ZipFile(wheel) as content:
        (name,) = (n for n in content.namelist() if n.endswith("/entry_points.txt"))
        points = content.read(name).decode()
    assert "housing = housing.cli:main" in points
    assert "airflow" not in points, "another team's Airflow gets no tab of ours"


@dataclass(frozen=True)
class Runs:
    """What runs of another team's DAG left.

    Attributes:
        git: The git repository around its DVC repository.
        results: What Airflow kept of each run.
        events: What OpenLineage was told in each run, by task and type of the event.
    """

    git: Path
    results: dict[str, dict[str, Any]]
    events: dict[str, dict[tuple[str, str], dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(wheel: Path, described: Message, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs with the engine's folder alone, beside the wheel's packages and those of lineage."""
    place = tmp_path_factory.mktemp("other")
    installed, told = place / "installed", place / "events.json"
    with zipfile.ZipFile(wheel) as content:
        engine = [name for name in content.namelist() if name.startswith("housing/engine/")]
        content.extractall(installed, ["housing/__init__.py", *engine])
    allowed = closure([*described.get_all("Requires-Dist", []), LINEAGE])
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {plain(owner) for owner in owners} & allowed
    } - {"housing"}
    assert hidden >= HEAVY
    # An interpreter reads this file before all else; the wheel comes before the checkout.
    (installed / "sitecustomize.py").write_text(BLOCKER)
    git(place, "init", "--quiet")
    git(place, "remote", "add", "origin", "git@git.example:team/churn.git")
    git(place, "commit", "--quiet", "--allow-empty", "--message", "x")
    dag_file = foreign.make_churn(place / "churn")
    transport = {"type": "file", "log_file_path": str(told), "append": True}
    env = foreign.environment(
        dag_file,
        PYTHONPATH=f"{installed}:{sysconfig.get_path('purelib')}",
        HIDDEN=" ".join(hidden),
        AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport),
    )
    results = foreign.run_steps(sys.executable, dag_file, STEPS, env)
    assert list(installed.rglob("task_group*.pyc")), "it was not the wheel that ran"
    return Runs(place, results, _by_run(told, results))


def _by_run(
    told: Path, results: dict[str, dict[str, Any]]
) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    events: dict[str, dict[tuple[str, str], dict[str, Any]]] = {name: {} for name in results}
    names = {result["run_id"]: name for name, result in results.items()}
    for line in told.read_text().splitlines():
        event = json.loads(line)
        _, dot, task = event["job"]["name"].partition(".")
        if dot:
            run = event["run"]["facets"]["airflow"]["dagRun"]["run_id"]
            events[names[run]][task, event["eventType"]] = event
    return events


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def versions(datasets: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {
        (d["namespace"], d["name"]): d["facets"].get("version", {}).get("datasetVersion", "")
        for d in datasets
    }


@pytest.mark.parametrize("step", STEPS)
def test_a_foreign_pipeline_runs_with_the_engine_alone(runs: Runs, step: str) -> None:
    assert foreign.states(runs.results[step]) == foreign.STATES[step]


def test_a_run_with_overrides_leaves_no_copy_behind(runs: Runs) -> None:
    places = [*(runs.git / "churn/.housing/workspaces").iterdir()]
    assert [path.name for place in places for path in place.iterdir() if path.name == "copy"] == []
    assert len(places) == 1


def test_a_task_tells_what_it_will_read_and_then_what_it_read_and_made(runs: Runs) -> None:
    start = runs.events["cold"]["prepare", "START"]
    assert versions(start["inputs"]) == {(NAMESPACE, "churn/raw"): ""}
    done = runs.events["cold"]["prepare", "COMPLETE"]
    (raw,), (clean,) = versions(done["inputs"]).values(), versions(done["outputs"]).values()
    assert (len(raw), len(clean)) == (32, 32)
    (made,) = done["outputs"]
    assert made["outputFacets"]["outputStatistics"]["size"] == len("rows\n")
    location = done["job"]["facets"]["sourceCodeLocation"]
    assert location["repoUrl"] == "https://git.example/team/churn"
    assert (location["path"], location["version"]) == (
        "churn/dvc.yaml",
        git(runs.git, "rev-parse", "HEAD"),
    )


def test_what_one_stage_makes_is_what_the_next_one_reads(runs: Runs) -> None:
    made = versions(runs.events["cold"]["prepare", "COMPLETE"]["outputs"])
    assert versions(runs.events["cold"]["train.a", "COMPLETE"]["inputs"]) == made
    models: dict[tuple[str, str], str] = {}
    for task in ("train.a", "train.b"):
        models |= versions(runs.events["cold"][task, "COMPLETE"]["outputs"])
    assert versions(runs.events["cold"]["evaluate", "COMPLETE"]["inputs"]) == models


def test_an_unchanged_stage_tells_the_versions_that_it_has(runs: Runs) -> None:
    run = runs.events["same content after the first stage"]
    for end in ("inputs", "outputs"):
        before = versions(runs.events["cold"]["train.a", "COMPLETE"][end])
        assert versions(run["train.a", "COMPLETE"][end]) == before
    assert versions(run["prepare", "COMPLETE"]["inputs"]) != versions(
        runs.events["cold"]["prepare", "COMPLETE"]["inputs"]
    )

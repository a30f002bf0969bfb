"""The engine as another team gets it: a wheel, beside no more packages than it asks for."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from tests import foreign

ROOT = Path(__file__).parents[1]
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


def base(described: Message) -> set[str]:
    """Every package that an installation without extras gets, by its plain name."""
    asked = described.get_all("Requires-Dist", [])
    waiting = list(_required(asked))
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
    assert {"apache-airflow", "dvc", "pydantic"} <= base(described)
    assert base(described) & HEAVY == set()
    assert "houses" in described.get_all("Provides-Extra", [])
    with zipfile.ZipFile(wheel) as content:
        (name,) = (n for n in content.namelist() if n.endswith("/entry_points.txt"))
        points = content.read(name).decode()
    assert "housing = housing.cli:main" in points
    assert "airflow" not in points, "another team's Airflow gets no tab of ours"


def test_a_foreign_pipeline_runs_from_the_wheel_beside_its_packages_alone(
    wheel: Path, described: Message, tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    allowed = base(described)
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {plain(owner) for owner in owners} & allowed
    } - {"housing"}
    assert hidden >= HEAVY
    # An interpreter reads this file before all else; the wheel comes before the checkout.
    (installed / "sitecustomize.py").write_text(BLOCKER)
    dag_file = foreign.make_churn(tmp_path / "churn")
    env = foreign.environment(
        dag_file,
        PYTHONPATH=f"{installed}:{sysconfig.get_path('purelib')}",
        HIDDEN=" ".join(hidden),
    )
    names = ["cold", "one param changed"]
    results = foreign.run_steps(sys.executable, dag_file, names, env)
    assert {n: foreign.states(results[n]) for n in names} == {n: foreign.STATES[n] for n in names}
    assert list(installed.rglob("task_group*.pyc")), "it was not the wheel that ran"

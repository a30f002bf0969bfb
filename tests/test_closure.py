"""A stage's deps name every file of the package that its script imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from housing.engine import graph

ROOT = Path(__file__).parents[1]
PACKAGE = grimp.build_graph("housing", exclude_type_checking_imports=True, cache_dir=None)
STAGES = graph.load(ROOT).stages


def imported_modules(script: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & PACKAGE.modules


def closure(script: Path) -> set[str]:
    modules = imported_modules(script)
    for module in list(modules):
        modules |= PACKAGE.find_upstream_modules(module)
    for module in list(modules):  # importing a module runs the packages around it
        parts = module.split(".")
        modules |= {".".join(parts[:length]) for length in range(1, len(parts))}
    return modules


def file_of(module: str) -> str:
    path = Path(*module.split("."))
    package = path / "__init__.py"
    return str(package if (ROOT / package).exists() else path.with_suffix(".py"))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_deps_name_the_closure_of_imports(stage: graph.StageNode) -> None:
    script = next(word for word in stage.cmd[0].split() if word.endswith(".py"))
    wanted = {script} | {file_of(module) for module in closure(ROOT / script)}
    listed = {dep for dep in stage.deps if dep.endswith(".py")}
    assert sorted(listed) == sorted(wanted), f"edit the deps of {stage.name} in dvc.yaml"


def test_no_stage_depends_on_a_limit() -> None:
    """A limit judges a result: a new one makes no new result, and no new version."""
    keys = {param.partition(":")[2] for stage in STAGES for param in stage.params}
    assert keys
    assert "" not in keys, "a stage depends on all of params.yaml"
    assert [key for key in keys if key.split(".")[0] in {"gate", "registry"}] == []


def test_import_layers_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""A stage's deps name every file of the package that its script imports."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
import yaml

from housing.engine import graph
from tests.conftest import MakeRepo

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


def scripts_of(stage: graph.StageNode, root: Path) -> list[str]:
    """The Python files of the project that the commands of a stage name, in their order."""
    words = [word for line in stage.cmd for word in shlex.split(line.replace(";", " ; "))]
    return [word for word in words if word.endswith(".py") and (root / word).is_file()]


def missing_and_extra(stage: graph.StageNode, root: Path = ROOT) -> tuple[list[str], list[str]]:
    """The files that a stage imports without naming them, and those it names for nothing.

    A dep that is no file of the package is the author's own business.
    """
    scripts = scripts_of(stage, root)
    imported = {file_of(module) for script in scripts for module in closure(root / script)}
    listed = {dep for dep in stage.deps if dep.endswith(".py")}
    ours = {dep for dep in listed if dep.startswith("housing/")}
    return sorted((imported | set(scripts)) - listed), sorted(ours - imported)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_deps_name_the_closure_of_imports(stage: graph.StageNode) -> None:
    assert missing_and_extra(stage) == ([], []), f"edit the deps of {stage.name} in dvc.yaml"


def test_the_deps_of_any_stage_can_be_compared(make_repo: MakeRepo) -> None:
    stages = {
        "shell": {"cmd": "sort raw.txt | uniq > sorted.txt", "outs": ["sorted.txt"]},
        "two": {"cmd": ["python a.py; echo done", "python -m json.tool x.json"], "deps": ["a.py"]},
        "extra": {"cmd": "true", "deps": ["housing/errors.py", "tool.py"]},
        "each": {"matrix": {"n": ["x", "y"]}, "cmd": "python a.py ${item.n}"},
    }
    files = {"a.py": "from housing.engine import root\n", "tool.py": "", "housing/errors.py": ""}
    root = make_repo(files | {"dvc.yaml": yaml.safe_dump({"stages": stages})})
    found = {s.name: missing_and_extra(s, root) for s in graph.load(root).stages}
    imported = ["housing/__init__.py", "housing/engine/__init__.py", "housing/engine/root.py"]
    assert found == {
        "shell": ([], []),
        "two": (imported, []),
        "extra": ([], ["housing/errors.py"]),
        "each@x": (["a.py", *imported], []),
        "each@y": (["a.py", *imported], []),
    }


def texts_of(file: Path) -> list[str]:
    """The texts in a file's code that are no docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    notes = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [t.value for t in texts if isinstance(t.value, str) and id(t) not in notes]


def test_no_code_names_a_stage_of_today() -> None:
    """A stage that is renamed or removed leaves no hint that leads nowhere."""
    names = {stage.name.partition("@")[0] for stage in STAGES}
    found = [
        (str(file.relative_to(ROOT)), text)
        for folder in ("dags", "housing", "stages")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for text in texts_of(file)
        if any(re.search(rf"(?<![\w/]){re.escape(name)}(?![\w.])", text) for name in names)
    ]
    assert found == []


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

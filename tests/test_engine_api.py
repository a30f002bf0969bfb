"""docs/api.md names exactly the engine's public names, with their real parameters."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from housing import engine

PAGE = (Path(__file__).parents[1] / "docs/api.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def head(name: str) -> str:
    """The head of a public name: its parameters with types and defaults, and what it returns."""
    thing = getattr(engine, name)
    found = inspect.signature(thing)
    parts = []
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        parts.append(f"{stars}{parameter.name}: {parameter.annotation}{default}")
    returned = "" if inspect.isclass(thing) else f" -> {found.return_annotation}"
    return normal(f"{name}({', '.join(parts)}){returned}")


def normal(written: str) -> str:
    return ast.unparse(ast.parse(f"def {written}: ..."))


def test_the_page_names_exactly_the_public_names() -> None:
    assert sorted(SECTIONS) == sorted(engine.__all__)


@pytest.mark.parametrize("name", engine.__all__)
def test_a_section_shows_the_real_signature_and_tells_each_parameter(name: str) -> None:
    assert normal(BLOCK.findall(SECTIONS[name])[0].strip()) == head(name)
    rows = re.findall(r"^\| `(\w+)` \| \S", SECTIONS[name], re.MULTILINE)
    assert rows == list(inspect.signature(getattr(engine, name)).parameters)


@pytest.mark.parametrize("name", engine.__all__)
def test_a_section_tells_methods_and_errors(name: str) -> None:
    thing = getattr(engine, name)
    told = set(re.findall(r"`(\w+)", SECTIONS[name]))
    if inspect.isclass(thing):
        own = {key for key, value in vars(thing).items() if callable(value)}
        assert {key for key in own if not key.startswith("_")} <= told
    raised = re.findall(r"^ +(\w+Error): ", (inspect.getdoc(thing) or ""), re.MULTILINE)
    assert set(raised) <= told | {"EngineError"}


@pytest.mark.parametrize(
    "example", [block for text in SECTIONS.values() for block in BLOCK.findall(text)[1:]]
)
def test_an_example_imports_public_names(example: str) -> None:
    tree = ast.parse(example)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    names = {a.name for node in imports if node.module == "housing.engine" for a in node.names}
    assert names
    assert names <= set(engine.__all__)
    assert not [node for node in imports if (node.module or "").startswith("housing.engine.")]

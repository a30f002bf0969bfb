"""The compiled schema accepts what DVC's own accepts, and says the same of what that refuses."""

from __future__ import annotations

from typing import Any

import pytest
from dvc.dvcfile import ProjectFile
from dvc.schema import COMPILED_MULTI_STAGE_SCHEMA
from voluptuous import MultipleInvalid

from housing.engine.execution import compiled_schema

STAGE: dict[str, Any] = {"cmd": "true", "deps": ["a"], "outs": [{"b": {"cache": False}}]}
FILES: dict[str, dict[str, Any]] = {
    "a stage": {"stages": {"one": STAGE}},
    "foreach": {"stages": {"many": {"foreach": [1, 2], "do": STAGE}}},
    "matrix": {"stages": {"many": {**STAGE, "matrix": {"model": ["a", "b"]}}}},
    "all parts": {
        "vars": ["params.yaml", {"x": 1}],
        "stages": {"one": STAGE},
        "params": ["params.yaml"],
        "metrics": ["m.json"],
        "plots": [{"p.csv": {"x": "a"}}],
        "artifacts": {"model": {"path": "m", "type": "model"}},
        "datasets": [],
    },
    "empty": {},
    "an unknown key": {"stages": {"one": {**STAGE, "dep": ["a"]}}},
    "no command": {"stages": {"one": {"deps": ["a"]}}},
    "no stage": {"stages": {"one": "true"}},
    "foreach without do": {"stages": {"many": {"foreach": [1]}}},
    "foreach beside a command": {"stages": {"many": {"foreach": [1], "do": STAGE, "cmd": "true"}}},
    "a fault inside do": {"stages": {"many": {"foreach": [1], "do": {"cmd": 1}}}},
    "two faults": {"stages": {"one": {"cmd": 1}, "two": {"cmd": "true", "outs": "b"}}},
    "an unknown part": {"stage": {}},
}


def _said(schema: Any, content: dict[str, Any]) -> tuple[object, list[tuple[str, list[object]]]]:  # noqa: ANN401 - voluptuous's
    try:
        return schema(content), []
    except MultipleInvalid as error:
        return None, [(fault.msg, list(fault.path)) for fault in error.errors]


@pytest.mark.parametrize("name", FILES)
def test_it_says_what_dvc_says(name: str) -> None:
    compiled_schema.use()
    file: Any = ProjectFile  # it has no types
    ours = file.SCHEMA
    assert ours is not COMPILED_MULTI_STAGE_SCHEMA
    assert _said(ours, FILES[name]) == _said(COMPILED_MULTI_STAGE_SCHEMA, FILES[name])


def test_the_examples_hold_both_kinds() -> None:
    faults = {
        name: _said(COMPILED_MULTI_STAGE_SCHEMA, content)[1] for name, content in FILES.items()
    }
    assert sum(not found for found in faults.values()) == 5
    assert len(faults["two faults"]) == 2

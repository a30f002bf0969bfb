"""Replaces parameters for one run, in DVC's own grammar (``dvc exp run --set-param``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides

from housing.engine import graph
from housing.engine.errors import OptionsError

DEFAULT_FILE = "params.yaml"
_SUFFIXES = frozenset({".yaml", ".yml", ".json", ".toml", ".py"})
_PAIR = re.compile(r"(?:(?P<file>[^:=]+):)?(?P<override>[^:=]+=.*)", re.DOTALL)


def apply(root: Path, overrides: Sequence[str]) -> None:
    """Replaces parameters in the params files of a workspace.

    Args:
        root: DVC's root folder of the workspace.
        overrides: ``[file:]key=value`` pairs, for params files in YAML, JSON, TOML or Python.

    Raises:
        OptionsError: A pair names a file or key that is not there, or is not of that form; all
            faults are told together.
    """
    found = graph.load(root)
    known = {param.partition(":")[0] for node in found.stages for param in node.params}
    known = {file for file in known.union(found.sources) if Path(file).suffix in _SUFFIXES}
    faults: list[str] = []
    by_file: dict[str, list[str]] = {}
    for pair in overrides:
        parts = _PAIR.fullmatch(pair)
        file = (parts["file"] if parts else None) or DEFAULT_FILE
        if not parts:
            faults.append(f"{pair!r} is not of the form [file:]key=value")
        elif file not in known or not (root / file).is_file():
            faults.append(f"{pair}: no stage takes parameters from {file}")
        else:
            by_file.setdefault(file, []).append(parts["override"])
    for file, pairs in by_file.items():
        try:
            apply_overrides(root / file, pairs)
        except DvcException as error:
            faults.append(f"{file}: {error.__cause__ or error}")
    if faults:
        raise OptionsError.of_faults("the overrides", faults)

"""DVC's schema of ``dvc.yaml``, compiled once.

DVC compiles the part for a stage anew for each stage of the file, whenever it reads it. The task of
each stage reads the file, and where that has hundreds of stages, this is a good part of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dvc import schema
from dvc.dvcfile import ProjectFile
from dvc.parsing import DO_KWD, FOREACH_KWD
from voluptuous import Schema

_STAGE = Schema(schema.STAGE_DEFINITION)
_FOREACH = Schema(schema.FOREACH_IN)


def use() -> None:
    """Lets this process read ``dvc.yaml`` by the compiled schema; it accepts what DVC's accepts."""
    file: Any = ProjectFile  # it has no types
    file.SCHEMA = _SCHEMA


def _checked(data: Any) -> Any:  # noqa: ANN401 - what stands in the file
    is_many = isinstance(data, Mapping) and {FOREACH_KWD, DO_KWD} & data.keys()
    return _FOREACH(data) if is_many else _STAGE(data)


_SCHEMA = Schema({**schema.MULTI_STAGE_SCHEMA, schema.STAGES: {str: _checked}})

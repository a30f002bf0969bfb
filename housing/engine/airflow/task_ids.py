"""The one place that maps DVC's stage names to Airflow's task ids, and runs to folders."""

from __future__ import annotations

import hashlib
import re

from housing.engine.errors import GraphError

LIMIT = 250
"""Characters that Airflow allows in a task id (``airflow.sdk`` refuses a longer one)."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]")


def task_id_of(stage: str) -> str:
    """The task id of a stage: ``train_model@xgboost`` becomes ``train_model.xgboost``.

    Airflow allows word characters, dashes and dots. The first ``@``, which DVC puts before the
    key of a matrix or foreach stage, becomes a dot; any other character that is not plain becomes
    two dots, its code point in hex, and a dot. No two stages share an id. The UI shows the stage's
    own name anyway (``task_display_name``).

    Args:
        stage: Name of the stage, as DVC addresses it.

    Raises:
        GraphError: The id would be longer than Airflow allows.
    """
    group, at, key = stage.partition("@")
    task_id = _escape(group) + ("." if at else "") + _escape(key)
    if len(task_id) > LIMIT:
        raise GraphError(
            f"the stage {stage!r} needs a task id of {len(task_id)} characters, "
            f"Airflow allows {LIMIT}",
            "give the stage a shorter name in dvc.yaml",
        )
    return task_id


def beside(task_id: str, stage: str, other: str) -> str:
    """The task id of another stage of the same group, whose id may stand before all of them.

    Args:
        task_id: The task id of a stage.
        stage: Name of that stage.
        other: Name of the other one.

    Raises:
        GraphError: See `task_id_of`.
    """
    return task_id.removesuffix(task_id_of(stage)) + task_id_of(other)


def group_id_of(name: str) -> str:
    """The id of a group of tasks: as a task id, without the dots that Airflow refuses there.

    Args:
        name: Name of a matrix or foreach, or a folder with a ``dvc.yaml``.
    """
    return "".join(char if _PLAIN.match(char) else f"-{ord(char):x}-" for char in name)


def folder_of(run_id: str) -> str:
    """A name for a folder of a run: it says which one, and fits any file system.

    A run id may be ``.``, and as long as a file name may be at most. So the name is the part of it
    that can be read, and a hash of all of it: at most 57 characters.

    Args:
        run_id: Airflow's id of the run.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", run_id)[:40]
    return f"{readable}-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"


def _escape(text: str) -> str:
    return "".join(char if _PLAIN.match(char) else f"..{ord(char):x}." for char in text)

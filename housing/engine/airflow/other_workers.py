"""What the tasks of upstream stages left on other workers, in this same workspace or not."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from housing.engine import graph
from housing.engine.airflow.compat import conf
from housing.engine.airflow.task_ids import beside
from housing.engine.errors import EngineError


def revision(ti: Any) -> str:  # noqa: ANN401  # Airflow's
    """The revision of the DAG bundle to which Airflow pinned the run, or "" where it has none.

    Args:
        ti: The task instance.
    """
    bundle = getattr(ti, "bundle_instance", None)
    return str(getattr(bundle, "version", None) or "")


def entries(ti: Any, root: Path, stage: str) -> dict[tuple[str, str], str]:  # noqa: ANN401  # Airflow's
    """The entries of ``dvc.lock`` that upstream tasks made, on whatever worker.

    Args:
        ti: The task instance, whose run's XComs are read.
        root: DVC's root folder.
        stage: The stage that is about to run.

    Returns:
        YAML of the entries, by their place in the repository. A stage that the run leaves out has
        none: what the repository's own ``dvc.lock`` says of it counts.
    """
    upstream = graph.load(root)[stage].upstream
    tasks = {beside(ti.task_id, stage, name): name for name in upstream}
    return all_entries(ti, root, tasks)


def all_entries(ti: Any, root: Path, stages: Mapping[str, str]) -> dict[tuple[str, str], str]:  # noqa: ANN401  # Airflow's
    """The entries of ``dvc.lock`` that the tasks of the run made, on whatever worker.

    Args:
        ti: The task instance, whose run's XComs are read.
        root: DVC's root folder.
        stages: The stages by the ids of their tasks.

    Returns:
        YAML of the entries, by their place in the repository; none of a stage that the run leaves
        out.
    """
    from housing.engine.execution.lock_entries import place_of

    nodes = graph.load(root)
    found = {}
    for task_id, stage in stages.items():
        record = ti.xcom_pull(task_ids=task_id) or {}
        if record.get("entry"):
            found[place_of(nodes[stage])] = record["entry"]
    return found


def compare(ti: Any, root: Path, stage: str, upstream: Iterable[str]) -> None:  # noqa: ANN401  # Airflow's
    """Compares what upstream tasks recorded on other hosts with ``dvc.lock`` here.

    Workers with a workspace each would lie: one ingests a new delivery, and the next finds its own
    old table unchanged and skips the training, in a green run. With a shared workspace, as in the
    stack, both are the same. A LocalExecutor has one host, so nothing is asked.

    Args:
        ti: The task instance, whose run's XComs are read.
        root: DVC's root folder; sources (``.dvc``) and stages of a ``dvc.yaml`` below it are not
            compared: this ``dvc.lock`` does not know them.
        stage: The stage that is about to run.
        upstream: The stages that it reads from.

    Raises:
        EngineError: An out here is not what the upstream task left on its host.
    """
    if conf.get("core", "executor") == "LocalExecutor":
        return
    from housing.engine.execution import lockfile

    here, entries = socket.gethostname(), lockfile.read(root)
    for name in upstream:
        if ":" in name or name.endswith(".dvc"):
            continue
        record = ti.xcom_pull(task_ids=beside(ti.task_id, stage, name)) or {}
        there = record.get("host", "")
        if there in ("", here):
            continue
        known = entries[name].outs if name in entries else {}
        for out in record["outs"]:
            path, md5 = out["path"], out["md5"]
            found = known[path].md5 if path in known else "nothing"
            if found != md5:
                raise EngineError(
                    f"stage {stage}: {path} of {name} is {md5} on {there}, and {found} on {here}",
                    "give all workers one workspace, as docs/stack.md does, or run a single worker",
                )

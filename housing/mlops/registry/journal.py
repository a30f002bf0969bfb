"""The journal of alias moves: one MLflow run for each, in an experiment of its own.

MLflow keeps no history of aliases (mlflow/mlflow#2169). A run is made in one call with all its
tags, is never written by anybody else, and can be listed, filtered and read in MLflow's own UI. It
is opened before the alias moves and closed after: an open entry tells of a move that was cut off.
Of several processes that made the same move at once, one entry stays.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Literal

from housing.domain.columns import Frozen
from housing.mlops.tracking.tracked_run import experiment_id
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Kind = Literal["promote", "assign", "rollback"]
State = Literal["open", "done", "refused"]

PREFIX = "housing.journal."
STATES: dict[str, State] = {"RUNNING": "open", "FINISHED": "done", "FAILED": "refused"}


class Entry(Frozen):
    """One move of an alias.

    Attributes:
        id: Id of the MLflow run that is this entry.
        at: When it was opened, in milliseconds since 1970.
        closed_at: When it was closed, or None.
        state: `open` while the alias is being moved, then `done` or `refused`.
        model: Registered model.
        alias: The alias.
        kind: `promote` by the gate, `assign` by a person, `rollback`.
        from_version: Version in the alias before, or None where it had none.
        to_version: Version in the alias after.
        who: Who asked for it.
        why: The reason that was given.
        data_time: When the data of `to_version` was ingested, in milliseconds since 1970.
        evidence: Result, run and what else the decision rests on.
    """

    id: str = ""
    at: int = 0
    closed_at: int | None = None
    state: State = "open"
    model: str
    alias: str
    kind: Kind
    from_version: str | None
    to_version: str
    who: str
    why: str
    data_time: int
    evidence: dict[str, str]


def journal_id(client: MlflowClient, settings: Settings) -> str:
    """The experiment that holds the journal; made where it is missing."""
    return experiment_id(client, f"{settings.experiment}-journal", settings.artifact_location)


def open_entry(client: MlflowClient, journal: str, entry: Entry) -> Entry:
    """Writes down a move before it is made.

    Args:
        client: An open MLflow.
        journal: Id of the journal's experiment.
        entry: What is to happen; its id, time and state are set here.
    """
    written = ("model", "alias", "kind", "to_version", "who", "why", "data_time")
    tags = {f"{PREFIX}{name}": str(getattr(entry, name)) for name in written}
    tags[f"{PREFIX}from_version"] = entry.from_version or ""
    tags[f"{PREFIX}evidence"] = json.dumps(entry.evidence, sort_keys=True)
    tags["mlflow.user"] = entry.who
    name = f"{entry.alias}: {entry.from_version or 'nothing'} to {entry.to_version}"
    run = client.create_run(journal, start_time=_now(), tags=tags, run_name=name)
    return _entry(run)


def close_entry(client: MlflowClient, entry: Entry, state: Literal["done", "refused"]) -> None:
    """Writes down how a move ended."""
    from mlflow.exceptions import MlflowException

    status = next(status for status, name in STATES.items() if name == state)
    try:
        client.set_terminated(entry.id, status=status, end_time=_now())
    except MlflowException:
        # A process that made the same move at once may have dropped this entry for its own.
        if client.get_run(entry.id).info.lifecycle_stage != "deleted":
            raise


def drop_entry(client: MlflowClient, entry: Entry) -> None:
    """Takes back an entry whose move another entry tells already; doing it twice is no fault."""
    client.delete_run(entry.id)


def entries(
    client: MlflowClient, journal: str, model: str, alias: str | None = None
) -> tuple[Entry, ...]:
    """The journal of a registered model, oldest entry first.

    Args:
        client: An open MLflow.
        journal: Id of the journal's experiment.
        model: Name of the registered model.
        alias: Only this alias.
    """
    wanted = f"tags.`{PREFIX}model` = '{model}'"
    if alias is not None:
        wanted += f" and tags.`{PREFIX}alias` = '{alias}'"
    found, token = [], None
    while True:
        page = client.search_runs([journal], wanted, page_token=token)
        found += [_entry(run) for run in page]
        token = page.token
        if not token:
            return tuple(sorted(found, key=lambda entry: (entry.at, entry.id)))


def previous(history: tuple[Entry, ...], holder: str) -> str | None:
    """The version that an alias would be rolled back to.

    A rollback takes back the last move that still stands, so that a second one goes one further.
    A move that somebody made in MLflow itself shows in the next entry, or in the holder.

    Args:
        history: The journal of one alias, oldest first.
        holder: The version in the alias.
    """
    standing: list[str] = []

    def arrive(version: str | None) -> None:
        if version and standing[-1:] != [version]:
            standing.append(version)

    for entry in history:
        # The last move may be made and not closed: it was cut off in between.
        made = entry.state == "open" and entry is history[-1] and entry.to_version == holder
        if entry.state != "done" and not made:
            continue
        arrive(entry.from_version)
        if entry.kind == "rollback":
            standing.pop()
        arrive(entry.to_version)
    arrive(holder)
    return standing[-2] if len(standing) > 1 else None


def _entry(run: Run) -> Entry:
    tags = {
        key.removeprefix(PREFIX): value
        for key, value in run.data.tags.items()
        if key.startswith(PREFIX)
    }
    return Entry.model_validate(
        {
            **tags,
            "id": run.info.run_id,
            "at": run.info.start_time,
            "closed_at": run.info.end_time,
            "state": STATES[run.info.status],
            "from_version": tags["from_version"] or None,
            "evidence": json.loads(tags["evidence"]),
        }
    )


def _now() -> int:
    return time.time_ns() // 1_000_000

"""One move of an alias: written into the journal first, made, and looked at again.

MLflow cannot compare and set an alias, so two promotions could overwrite each other. Each therefore
writes its journal entry, looks whether the alias is still where it was judged against, moves it,
and reads the journal again. Of two that overlap, whoever reads last sees both entries, and the
newer data wins; one that came too late finds the alias moved. No clock is compared between the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from housing.domain.columns import Frozen
from housing.errors import AliasMovedError, RegistryError
from housing.mlops.registry.client import alias_version, number_of
from housing.mlops.registry.journal import (
    Entry,
    close_entry,
    drop_entry,
    entries,
    journal_id,
    open_entry,
)
from housing.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE = 3_600_000
"""Milliseconds after which an open entry of a peer is taken for abandoned."""


class Promotion(Frozen):
    """What a promotion, an assignment or a rollback did.

    Attributes:
        version: Version that the alias points to now.
        alias: The alias.
        previous: Version that it pointed to before, or None where it had none.
        moved: Whether the alias moved; False where it was there already.
    """

    version: str
    alias: str
    previous: str | None
    moved: bool


def holder_of(client: MlflowClient, model: str, alias: str) -> str | None:
    """The version that an alias points to, or None where it points to none."""
    return number_of(alias_version(client, model, alias))


def move(client: MlflowClient, settings: Settings, wanted: Entry) -> Promotion:
    """Moves an alias and writes the journal.

    Args:
        client: An open MLflow.
        settings: Names the journal.
        wanted: The move. An open entry for the same move is finished.

    Raises:
        AliasMovedError: A promotion found that the alias left `from_version` meanwhile.
        RegistryError: A promotion of newer data goes before this one.
    """
    journal = journal_id(client, settings)
    before = entries(client, journal, wanted.model, wanted.alias)
    # Asked after the journal: a peer that made this very move meanwhile is seen in one of them.
    arrived = holder_of(client, wanted.model, wanted.alias) == wanted.to_version
    begun = [entry for entry in before if _is_begun(entry, wanted, arrived=arrived)]
    if arrived and not begun:
        return _arrived(wanted)
    entry = begun[-1] if begun else open_entry(client, journal, wanted)
    newer = _newer(entry, before, before)
    if newer is not None:
        raise _refused(client, entry, newer)
    if not arrived:
        holder = holder_of(client, wanted.model, wanted.alias)
        if wanted.kind == "promote" and holder not in {wanted.from_version, wanted.to_version}:
            close_entry(client, entry, "refused")
            raise AliasMovedError(wanted.alias, wanted.from_version, holder)
        client.set_registered_model_alias(wanted.model, wanted.alias, wanted.to_version)
    newer = _newer(entry, before, entries(client, journal, wanted.model, wanted.alias))
    if newer is not None:
        client.set_registered_model_alias(newer.model, newer.alias, newer.to_version)
        raise _refused(client, entry, newer)
    close_entry(client, entry, "done")
    first = _drop_twins(client, entry, before, entries(client, journal, wanted.model, wanted.alias))
    return _moved(entry) if first else _arrived(entry)


def _drop_twins(
    client: MlflowClient, mine: Entry, before: tuple[Entry, ...], now: tuple[Entry, ...]
) -> bool:
    """Leaves one entry of a move that several processes made at once.

    Each of them looks after it has closed its own entry, and all keep the same one, so whoever
    looks last leaves one.

    Args:
        client: An open MLflow.
        mine: My entry, closed.
        before: The journal as it was before my entry: what was closed then is another move.
        now: The journal as it is.

    Returns:
        Whether it is mine that stays.
    """
    closed = {entry.id for entry in before if entry.state != "open"}
    twins = [
        entry
        for entry in now
        if entry.id not in closed
        and entry.state == "done"
        and (entry.kind, entry.from_version, entry.to_version, entry.who)
        == (mine.kind, mine.from_version, mine.to_version, mine.who)
    ]
    first, *others = sorted(twins, key=_rank) or [mine]
    for entry in others:
        drop_entry(client, entry)
    return first.id == mine.id


def _is_begun(entry: Entry, wanted: Entry, *, arrived: bool) -> bool:
    """Whether an entry is an earlier try of the very same move, which was cut off.

    A person's reason is part of it; that of a promotion is the gate's, made anew for each try.
    """
    return (
        (entry.state, entry.kind, entry.to_version) == ("open", wanted.kind, wanted.to_version)
        and (arrived or entry.from_version == wanted.from_version)
        and entry.who == wanted.who
        and (wanted.kind == "promote" or entry.why == wanted.why)
    )


def _newer(mine: Entry, before: tuple[Entry, ...], now: tuple[Entry, ...]) -> Entry | None:
    """The promotion with the newest data among those that overlap mine, where it is not mine.

    What was closed before mine began does not overlap it: its move is seen in the alias.
    """
    if mine.kind != "promote":
        return None  # a person's decision waits for nobody
    closed = {entry.id for entry in before if entry.state != "open"}
    rivals = [
        entry
        for entry in now
        if entry.kind == "promote"
        and entry.id not in closed
        and entry.to_version != mine.to_version
        and (entry.state == "done" or (entry.state == "open" and _is_fresh(entry, mine)))
        and _rank(entry) > _rank(mine)
    ]
    return max(rivals, key=_rank, default=None)


def _refused(client: MlflowClient, mine: Entry, newer: Entry) -> RegistryError:
    close_entry(client, mine, "refused")
    return RegistryError(
        f"version {newer.to_version}, made from newer data, was promoted to {mine.alias} "
        f"while version {mine.to_version} was",
        "nothing: the alias holds the newer model",
    )


def _is_fresh(entry: Entry, mine: Entry) -> bool:
    return abs(entry.at - mine.at) < PATIENCE


def _rank(entry: Entry) -> tuple[int, int, str]:
    return entry.data_time, entry.at, entry.id


def _arrived(entry: Entry) -> Promotion:
    """The alias was there already, or somebody else tells of this move."""
    return _moved(entry.model_copy(update={"from_version": entry.to_version}))


def _moved(entry: Entry) -> Promotion:
    return Promotion(
        version=entry.to_version,
        alias=entry.alias,
        previous=entry.from_version,
        moved=entry.from_version != entry.to_version,
    )

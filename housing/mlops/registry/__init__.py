"""MLflow's model registry: judged, promoted, rolled back, with a journal of every alias move."""

from housing.mlops.registry.alias_move import Promotion
from housing.mlops.registry.declined import decline
from housing.mlops.registry.journal import Entry
from housing.mlops.registry.operations import assign, rollback, set_champion
from housing.mlops.registry.promote import promote, validate
from housing.mlops.registry.queries import (
    Version,
    aliases,
    read_journal,
    versions,
)
from housing.mlops.registry.told import told_before

__all__ = [
    "Entry",
    "Promotion",
    "Version",
    "aliases",
    "assign",
    "decline",
    "promote",
    "read_journal",
    "rollback",
    "set_champion",
    "told_before",
    "validate",
    "versions",
]

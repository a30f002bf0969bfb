"""MLflow's model registry: judged, promoted, rolled back, with a journal of every alias move."""

from housing.registry.journal import Entry
from housing.registry.move import Promotion
from housing.registry.promote import promote, validate
from housing.registry.show import (
    SideBySide,
    Version,
    aliases,
    read_journal,
    side_by_side,
    versions,
)
from housing.registry.steer import assign, rollback, set_champion

__all__ = [
    "Entry",
    "Promotion",
    "SideBySide",
    "Version",
    "aliases",
    "assign",
    "promote",
    "read_journal",
    "rollback",
    "set_champion",
    "side_by_side",
    "validate",
    "versions",
]

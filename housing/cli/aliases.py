"""``housing champion`` and ``housing rollback``: who serves production."""

from __future__ import annotations

import getpass
import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from housing.cli.console import console_of
from housing.cli.services import seen
from housing.domain.config import Registered, load_params, load_registered, load_what_holds
from housing.engine.errors import typeable
from housing.errors import ConfigError
from housing.settings import Settings, load_settings

if TYPE_CHECKING:
    from housing.mlops.registry import Promotion


def show_contest(*, as_json: bool) -> None:
    """Shows challenger and champion side by side.

    Args:
        as_json: Print JSON.

    Raises:
        TrackingError: MLflow does not answer, or nothing is in staging.
    """
    from housing.messages import contest
    from housing.mlops.registry.comparison import side_by_side

    settings = load_settings()
    params = load_what_holds(settings.root / "params.yaml")
    sides = side_by_side(settings, params)
    if as_json:
        sys.stdout.write(sides.model_dump_json(indent=2) + "\n")
        return
    challenger, champion = sides.challenger, sides.champion
    message = contest(
        params.registry.model,
        (challenger.version, challenger.metrics),
        (champion.version, champion.metrics) if champion else None,
        sides.checks,
        challenger.overrides,
    )
    console_of().print(message.to_text(), soft_wrap=True, markup=False)
    hint = typeable(f"housing champion {challenger.version} --why REASON")
    console_of().print(f"\n{hint}", soft_wrap=True, markup=False)


def set_champion(version: str, why: str, *, as_json: bool) -> None:
    """Makes a version the champion.

    Args:
        version: The version.
        why: The reason, for the journal.
        as_json: Print JSON.

    Raises:
        ConfigError: No reason is given.
        TrackingError: MLflow does not answer, or has no such version.
    """
    from housing.mlops import registry

    if not why:
        raise ConfigError("a new champion needs a reason", f"housing champion {version} --why TEXT")
    settings, params = _project()
    move = registry.set_champion(settings, params, version, getpass.getuser(), why)
    _show(settings, params, move, as_json)


def roll_back(alias: str, why: str, *, as_json: bool) -> None:
    """Puts an alias back to the version before.

    Args:
        alias: The alias, or "" for the champion's.
        why: The reason, for the journal.
        as_json: Print JSON.

    Raises:
        TrackingError: MLflow does not answer, or there is no version before.
    """
    from housing.mlops import registry

    settings, params = _project()
    alias = alias or params.registry.champion
    move = registry.rollback(settings, params, alias, getpass.getuser(), why)
    _show(settings, params, move, as_json)


def follow_move(settings: Settings, console: Console) -> None:
    """Makes the dashboard anew after a move, which stands, whatever becomes of the page.

    Args:
        settings: Where MLflow and the project are.
        console: Where it is told that the page is as before.
    """
    from housing.dashboard.update import update

    try:
        update(seen(settings), load_params(settings.root / "params.yaml"))
    except Exception as error:  # noqa: BLE001  # whatever it is, the alias has moved
        told = f"the alias moved, but the dashboard is as before: {error!r}\n  next: "
        console.print(told + typeable("housing dashboard"), markup=False, soft_wrap=True)


def _project() -> tuple[Settings, Registered]:
    settings = load_settings()
    return settings, load_registered(settings.root / "params.yaml")


def _show(settings: Settings, params: Registered, move: Promotion, as_json: bool) -> None:
    follow_move(settings, console_of(as_json=True))
    if as_json:
        sys.stdout.write(json.dumps(move.model_dump(mode="json"), indent=2) + "\n")
        return
    before = f"version {move.previous}" if move.previous else "no version"
    verb = "now" if move.moved else "still"
    told = f"{move.alias} is {verb} version {move.version} (before: {before})"
    console_of().print(told, markup=False)
    if move.alias == params.registry.champion:
        hint = "next, to price the waiting files: airflow dags trigger housing_batch_scoring"
        console_of().print(typeable(hint), soft_wrap=True)

"""Tries again: where somebody else is at work, and where inputs change while the command runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from dvc.exceptions import ReproductionError
from dvc.lock import LockError

from housing.engine.errors import InputsChangedError
from housing.engine.execution import dvc_errors
from housing.engine.execution.stage_process import Command

_log = logging.getLogger("housing.engine.execution")

ATTEMPTS: Final = 3
"""How often a command is run whose deps or params change meanwhile, before its task fails."""

_POLL: Final = 0.1


def on_steady_inputs(
    attempt: Callable[[], None], command: Command, give_up: Callable[[LockError], None]
) -> None:
    """Runs a stage again where its deps or params changed meanwhile, on what is there now.

    Args:
        attempt: Lets DVC look at the stage, and run it.
        command: The command of the stage.
        give_up: Says whether to wait no longer for somebody else, by raising.

    Raises:
        InputsChangedError: They changed each time.
        ReproductionError: DVC failed otherwise.
    """
    for count in range(1, ATTEMPTS + 1):
        try:
            _in_turn(attempt, command, give_up)
        except ReproductionError as error:
            change = error.__cause__
            if not isinstance(change, InputsChangedError):
                raise
            if count == ATTEMPTS:
                raise dvc_errors.never_steady(change, ATTEMPTS) from error
            _log.warning("%s: changed meanwhile, so it runs again, nothing saved", change)
            command.forget()
        else:
            return


def _in_turn(
    attempt: Callable[[], None], command: Command, give_up: Callable[[LockError], None]
) -> None:
    """Tries again while another process, as a person's ``dvc repro``, is in DVC's rwlock."""
    said = False
    while True:
        try:
            attempt()
        except ReproductionError as error:
            if not isinstance(error.__cause__, LockError) or command.began:
                raise
            give_up(error.__cause__)
            if not said:
                _log.info("waiting: %s", error.__cause__)
                said = True
            time.sleep(_POLL)
        else:
            return

"""Where this command line prints for people."""

from __future__ import annotations

import os

from rich.console import Console

_WIDE = 1000


def console_of(*, as_json: bool = False) -> Console:
    """The console: as wide as the terminal, and without one as wide as the words.

    Args:
        as_json: The output is for JSON: what people read goes to the errors.
    """
    console = Console(stderr=as_json)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        return Console(stderr=as_json, width=_WIDE)  # rich would fold and cut at 80 columns
    return console

"""The ``housing`` command line.

Exit codes: 0 done; 1 an error, whose message says what to do next; 2 the command line itself is
wrong; 3 the gate rejected the model, and nothing was promoted; 130 the run was interrupted.
"""

from __future__ import annotations

import json
import sys
from typing import NoReturn

from housing.cli.app import app
from housing.engine.errors import ExplainedError

__all__ = ["app", "main"]


def main() -> None:
    """Runs the command line; a known error ends it with its message and exit code 1."""
    try:
        app()
    except ExplainedError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "housing":
            raise
        _fail(
            ExplainedError(
                f"this command needs {error.name}, which is not installed: it is the house-price "
                "pipeline's, not the engine's",
                "pip install 'housing[houses]'",
            )
        )


def _fail(error: ExplainedError) -> NoReturn:
    if "--json" not in sys.argv:
        sys.exit(f"error: {error}")
    sys.stdout.write(json.dumps({"error": error.fact, "next": error.hint}, indent=2) + "\n")
    sys.exit(1)

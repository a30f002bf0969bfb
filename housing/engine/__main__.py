"""The engine's own command: ``python -m housing.engine plan``, for any DVC repository."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from housing.engine.errors import EngineError


def main(arguments: list[str] | None = None) -> int:
    """Plans what a run would do, and prints it.

    Args:
        arguments: Those of the command line, by default the process's own.

    Returns:
        The exit code: 0 done, 1 an error, which is told.
    """
    parser = argparse.ArgumentParser(prog="python -m housing.engine")
    plan = parser.add_subparsers(required=True).add_parser(
        "plan", help="tell which stages would run, why, and how long that takes; nothing runs"
    )
    plan.add_argument("stages", nargs="*", help="stages, with all upstream of them; all if none")
    plan.add_argument("--root", type=Path, default=Path(), help="DVC's root folder; here if none")
    plan.add_argument("--force", action="store_true", help="plan a run of every stage")
    plan.add_argument("--json", action="store_true", help="print JSON, for scripts; also an error")
    given = parser.parse_args(arguments)
    from housing.engine.execution.plan import show  # --help needs no DVC

    try:
        show(given.root, given.stages, force=given.force, as_json=given.json)
    except EngineError as error:
        if given.json:
            content = {"error": error.fact, "next": error.hint}
            sys.stdout.write(json.dumps(content, indent=2) + "\n")
        else:
            sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

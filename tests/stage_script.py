"""The scripts of `stages/`, run in this process: a new one imports for a second or two."""

from __future__ import annotations

import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from housing import stage

STAGES = Path(__file__).parents[1] / "stages"


def run_here(project: Path, name: str, *arguments: str) -> CompletedProcess[str]:
    """Runs a script as `python stages/NAME.py ARGUMENTS` in a project's folder.

    An error that the script does not explain is raised here.
    """
    script = str(STAGES / f"{name}.py")
    out, err = StringIO(), StringIO()
    code: int | str | None = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(project)
        patch.setattr(sys, "argv", [script, *arguments])
        patch.setattr(stage, "leave", sys.exit)  # the process is that of the tests
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return CompletedProcess([script, *arguments], code, out.getvalue(), err.getvalue())

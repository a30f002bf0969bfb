"""Every command that the documentation tells a user to type exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from housing.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md"])
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def typed_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.splitlines():
                command = line.removeprefix("$ ").split("  #")[0].strip()
                if command.startswith(("make ", "uv run ", "housing ")):
                    found.append((str(page.relative_to(ROOT)), command))
    return found


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize(("page", "command"), typed_commands())
def test_a_documented_command_exists(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert set(targets) <= make_targets(), f"{page}: {command}"
        return
    words = [word for word in words[2 if words[0] == "uv" else 0 :] if not word.startswith("--env")]
    tool = words[0]
    if "/" in tool:
        assert (ROOT / tool).exists(), f"{page}: {command}"
    elif tool == "housing" and len(words) > 1:
        commands = get_command(app).commands  # type: ignore[attr-defined]  # a group at run time
        assert words[1] in commands, f"{page}: {command}"
    else:
        assert Path(sys.executable).with_name(tool).exists(), f"{page}: {command}"


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = {line.split()[0] for line in shown.splitlines()}
    assert listed == make_targets()


def test_the_documentation_shows_commands() -> None:
    pages = {page for page, _ in typed_commands()}
    assert {"README.md", "CONTRIBUTING.md"} <= pages

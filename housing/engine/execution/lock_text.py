"""Entries put into the text of a ``dvc.lock``, as DVC writes them.

DVC reads and writes the whole file by a parser in pure Python, which keeps comments. Where stages
have many deps, that takes as long as a short command. Here only the changed entries are written
anew, and the others stay as they are, character by character.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml
from dvc.utils import serialize

_yaml: Any = serialize  # it has no types
_SCHEMA: Final = {"schema": "2.0"}
_HEAD: Final = "schema: '2.0'\nstages:\n"
_OTHER_SECTION: Final = re.compile(r"^\S", re.MULTILINE)
_NEXT_ENTRY: Final = re.compile(r"^ {0,2}\S", re.MULTILINE)
_ALIAS: Final = re.compile(r"[\[,:-] *\*\w")
"""YAML's name for what is written elsewhere, in another entry perhaps."""
_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def put(text: str, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The text with these entries, the new ones last.

    Args:
        text: Content of the file, empty where there is none.
        entries: The entries by their key.

    Raises:
        ParseError: DVC's; the text is no YAML.
    """
    for key, entry in entries.items():
        text = _spliced(text, key, entry) or _by_dvc(text, key, entry)
    return text


def entry(text: str, key: str) -> str | None:
    """The lines of one entry, by which a change of it shows; of the others nothing is looked at.

    Args:
        text: Content of the file.
        key: The entry's key.

    Returns:
        Its lines; None where it is not there, or where DVC has to say what the file means.
    """
    body = _body(text)
    first = f"  {key}:\n"
    if body is None or f"\n{body}".count(f"\n{first}") != 1:
        return None
    start, end = _lines_of(first, body)
    return body[start:end]


def _by_dvc(text: str, key: str, entry: Mapping[str, Any]) -> str:
    """As `dvc.dvcfile.Lockfile.dump_stages` does it."""
    data = _yaml.parse_yaml_for_update(text, "dvc.lock") if text else {}
    if not data:
        data.update(_SCHEMA)
    data["stages"] = data.get("stages") or {}
    data["stages"][key] = entry
    new: str = _yaml.dumps_yaml(data)
    return new


def _spliced(text: str, key: str, entry: Mapping[str, Any]) -> str | None:
    """The text with its lines of one entry replaced, or None where only DVC knows how.

    That is so where the file has more than entries (`_body`), or was not written by DVC. The result
    is read again and compared, for a file that is wrong would cost all results of the pipeline.
    """
    body = _body(text)
    if body is None:
        return None
    block = _yaml.dumps_yaml({"stages": {key: entry}}).removeprefix("stages:\n")
    start, end = _lines_of(block[: block.index("\n") + 1], body)
    new = f"{_HEAD}{body[:start]}{block}{body[end:]}"
    before, own, now = (_entries(each) for each in (text, f"stages:\n{block}", new))
    if before is None or own is None or now is None or (start == len(body)) == (key in before):
        return None
    return new if [*now.items()] == [*{**before, **own}.items()] else None


def _body(text: str) -> str | None:
    """All entries as DVC writes them; None where there are comments, other sections or aliases."""
    body = text.removeprefix(_HEAD)
    if not text.startswith(_HEAD) or not text.endswith("\n") or "#" in text:
        return None
    return None if _OTHER_SECTION.search(body) or _ALIAS.search(body) else body


def _lines_of(first: str, body: str) -> tuple[int, int]:
    """From where to where the entry that begins with this line stands, or would stand if new."""
    found = re.search(f"^{re.escape(first)}", body, re.MULTILINE)
    if not found:
        return len(body), len(body)
    after = _NEXT_ENTRY.search(body, found.end())
    return found.start(), after.start() if after else len(body)


def _entries(text: str) -> dict[str, Any] | None:
    """All entries, of strings alone, in which YAML 1.1 and 1.2 agree; None where it is no YAML."""
    try:
        content = yaml.load(text, _LOADER)  # noqa: S506 - it makes strings, lists and dicts alone
    except yaml.YAMLError:
        return None
    return dict(content["stages"])

"""An entry put into ``dvc.lock`` is, byte for byte, what DVC writes."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from dvc.dvcfile import Lockfile
from dvc.stage import serialize
from dvc.utils.serialize import dumps_yaml

from housing.engine.execution import lock_entries, lock_text

ROOT = Path(__file__).parents[1]
OWN = (ROOT / "dvc.lock").read_text(encoding="utf-8")
HASH = "d41d8cd98f00b204e9800998ecf8427e"
LONG = "python stages/make.py " + " ".join(f"--option-{number} value" for number in range(12))
OUT = {"path": "a", "hash": "md5", "md5": HASH, "size": 1}
FILE = {"path": "b", "hash": "md5", "md5": f"{HASH}.dir", "size": 2, "nfiles": 1, "isexec": True}
ENTRIES: dict[str, dict[str, Any]] = {
    "short": {"cmd": "true"},
    "all": {
        "cmd": ["one", "two", "a: b", LONG],
        "deps": [OUT, FILE],
        "params": {
            "params.yaml": {
                "rate": 1e-05,
                "big": 1e20,
                "words": ["yes", "on", "0123", "1e3", "~", "null", ""],
                "nothing": None,
                "flow": {"list": [], "map": {}},
                "text": "first\n\n  second\n",
                "name": "é ü 日本",
                "more": {"deep": {"deeper": [{"x": 1}, {"y": [1.0, True]}]}},
            }
        },
        "outs": [OUT],
    },
    "a number sign": {"cmd": "one # two"},
    "shared": {"cmd": "true", "params": {"p": {"a": OUT, "b": OUT}}},
}


def dump(entries: dict[str, Any]) -> str:
    """A whole ``dvc.lock`` by DVC's own dumper."""
    return str(dumps_yaml({"schema": "2.0", "stages": entries}))  # type: ignore[no-untyped-call] # DVC's


def written(**entries: dict[str, Any]) -> str:
    """A ``dvc.lock`` as DVC writes it: no two entries share an object."""
    return dump({key: json.loads(json.dumps(entry)) for key, entry in entries.items()})


SHARED = {"cmd": "true", "deps": [OUT]}
KEYS = ("it", "it@0.5", "it@a b", "it@" + 140 * "x")
LONGEST_KEY = 128
"""YAML writes longer ones in another form."""
WITHOUT_DVC = {"one", "it alone", "it first", "it last", "it between", "this repository's"}
TEXTS: dict[str, str] = {
    "none": "",
    "one": written(other=ENTRIES["all"]),
    "it alone": written(it=ENTRIES["all"]),
    "it first": written(it=ENTRIES["short"], other=ENTRIES["all"]),
    "it last": written(other=ENTRIES["all"], it=ENTRIES["all"]),
    "it between": written(a=ENTRIES["all"], it=ENTRIES["all"], its=OUT),
    "its name in a command": written(a={"cmd": "x\n  it:\n  its:\n"}, its=OUT),
    "objects that entries share": dump({"it": OUT, "b": OUT, "c": ENTRIES["shared"]}),
    "what it takes from another entry": dump({"b": SHARED, "it": SHARED | {"cmd": "it"}}),
    "a comment": written(other=OUT, it=OUT).replace("  it:", "  # ours\n  it:"),
    "data sets": "schema: '2.0'\nstages:\n  it:\n    cmd: a\ndatasets:\n- name: d\n",
    "no entry": "schema: '2.0'\nstages: {}\n",
    "another form": "stages: {it: {cmd: 'x'}}\nschema: '2.0'\n",
    "no end of line": written(other=OUT, it=OUT)[:-1],
    "this repository's": OWN,
}


def by_dvc(folder: Path, text: str, key: str) -> str:
    """What DVC itself makes of a file when it has run a stage."""
    path = folder / "dvc.lock"
    path.unlink(missing_ok=True)
    if text:
        path.write_text(text, encoding="utf-8")
    stage, repo = MagicMock(), MagicMock(fs=None)
    stage.name = key
    lockfile: Any = Lockfile  # it has no types
    lockfile(repo, str(path)).dump_stages([stage])
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", TEXTS)
def test_it_is_what_dvc_writes(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # DVC takes half a second for the one of this repository.
    entries = {"short": ENTRIES["short"]} if text == "this repository's" else ENTRIES
    for key, content in product(KEYS, entries.values()):
        with monkeypatch.context() as patch:
            patch.setattr(serialize, "to_lockfile", lambda stage, new=content: {stage.name: new})
            wanted = by_dvc(tmp_path, TEXTS[text], key)
            if text in WITHOUT_DVC and len(key) < LONGEST_KEY:
                patch.delattr(lock_text, "_by_dvc")
            assert lock_text.put(TEXTS[text], {key: content}) == wanted


def test_a_name_that_somebody_quoted_is_the_same_name() -> None:
    text = "schema: '2.0'\nstages:\n  'it':\n    cmd: a\n  b:\n    cmd: c\n"
    assert yaml.safe_load(lock_text.put(text, {"it": {"cmd": "d"}}))["stages"] == {
        "it": {"cmd": "d"},
        "b": {"cmd": "c"},
    }


def test_each_entry_of_this_repository_is_put_in_place_without_dvc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = yaml.safe_load(OWN)["stages"]
    assert len(entries) > 5
    changed = {key: {**entry, "cmd": f"nice {entry['cmd']}"} for key, entry in entries.items()}
    wanted = dump(changed)
    monkeypatch.delattr(lock_text, "_by_dvc")
    assert lock_text.put(OWN, changed) == wanted
    assert lock_text.put(wanted, entries) == OWN


def test_the_lines_of_an_entry_say_what_it_says() -> None:
    entries = yaml.safe_load(OWN)["stages"]
    lines = {key: lock_text.entry(OWN, key) for key in entries}
    assert "".join(map(str, lines.values())) == OWN.partition("stages:\n")[2]
    assert {key: yaml.safe_load(str(own))[key] for key, own in lines.items()} == entries


@pytest.mark.parametrize("text", TEXTS)
def test_an_entry_has_lines_of_its_own_only_where_dvc_wrote_them_so(text: str) -> None:
    own = lock_text.entry(TEXTS[text], "it")
    assert (own is not None) == (text in {"it alone", "it first", "it last", "it between"})
    assert own is None or yaml.safe_load(own)["it"] == yaml.safe_load(TEXTS[text])["stages"]["it"]


def test_entries_of_other_workers_leave_other_sections_alone(tmp_path: Path) -> None:
    file = tmp_path / "dvc.lock"
    file.write_text(TEXTS["data sets"], encoding="utf-8")
    assert lock_entries.merge(tmp_path, {("dvc.lock", "it"): "cmd: b\n"}) == ["it"]
    assert file.read_text(encoding="utf-8") == TEXTS["data sets"].replace("cmd: a", "cmd: b")
    assert lock_entries.merge(tmp_path, {("dvc.lock", "it"): "cmd: b\n"}) == []

"""What is kept of ``dvc.yaml`` and ``dvc.lock`` is what DVC reads, for exactly their text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.dvcfile import FileMixin, Lockfile, ProjectFile
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils.serialize import _yaml, load_yaml

from housing.engine.execution import parsed_files

LOCK = """schema: '2.0'
stages:
  one:
    cmd: echo 1
    params:
      params.yaml:
        x: 1.0
        y: [1, true, null, 'no', 1e-3]
    outs:
    - path: a
      md5: d8e8fca2dc0f896fd7cb4cb0031ba249
      size: 5
"""
BY_DVC = FileMixin._load_yaml
PARSE_BY_DVC = _yaml.parse_yaml


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repo]:
    tmp_path /= os.fsdecode(b"pr\xe9cis")  # no UTF-8
    tmp_path.mkdir()
    Repo.init(str(tmp_path), no_scm=True).close()  # type: ignore[no-untyped-call]  # DVC's
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo 1\n    outs: [a]\n")
    (tmp_path / "dvc.lock").write_text(LOCK)
    parsed_files.use()
    with Repo(str(tmp_path)) as opened:
        yield opened
    del ProjectFile._load_yaml, Lockfile._load_yaml
    _yaml.parse_yaml = PARSE_BY_DVC


def file_of(repo: Repo, name: str) -> Any:  # noqa: ANN401 - DVC's
    file: Any = {"dvc.yaml": ProjectFile, "dvc.lock": Lockfile}[name]
    return file(repo, f"{repo.root_dir}/{name}")


def kept(repo: Repo) -> list[Path]:
    return sorted(Path(repo.tmp_dir, "housing/parsed").glob("*"))


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock"])
def test_the_second_reading_parses_nothing_and_gives_the_same(
    repo: Repo, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = BY_DVC(file_of(repo, name))
    assert file_of(repo, name)._load() == expected
    assert len(kept(repo)) == 1
    monkeypatch.setattr(parsed_files, "_by_dvc", None)
    again = file_of(repo, name)._load()
    assert (repr(again), again) == (repr(expected), expected)


def test_another_text_is_parsed_anew(repo: Repo) -> None:
    lock = file_of(repo, "dvc.lock")
    assert lock.load()["stages"]["one"]["cmd"] == "echo 1"
    Path(lock.path).write_text(LOCK.replace("echo 1", "echo 2"))
    assert lock.load()["stages"]["one"]["cmd"] == "echo 2"
    assert lock.load()["stages"]["one"]["cmd"] == "echo 2"
    assert len(kept(repo)) == 1


@pytest.mark.parametrize("value", ["2026-01-31", "{1: a}", ".inf", ".nan"])
def test_what_json_may_not_know_comes_as_dvc_reads_it(repo: Repo, value: str) -> None:
    lock = file_of(repo, "dvc.lock")
    Path(lock.path).write_text(LOCK.replace("1.0", value))
    expected = BY_DVC(lock)[0]
    assert [repr(lock.load()) for _ in range(2)] == [repr(expected)] * 2


def test_a_damaged_note_is_no_harm(repo: Repo) -> None:
    lock = file_of(repo, "dvc.lock")
    expected = lock.load()
    (note,) = kept(repo)
    note.write_text(note.read_text()[:-20])
    assert lock.load() == expected
    note.write_text(note.read_text().replace("echo 1", "echo 2"))
    assert lock.load() == expected
    note.write_bytes(b"\xff")
    assert lock.load() == expected


@pytest.mark.parametrize("text", ["stages: [", "stages:\n  one:\n    cnd: x\n", "\xff"])
def test_dvc_says_what_is_wrong_with_its_file(repo: Repo, text: str) -> None:
    lock = file_of(repo, "dvc.lock")
    lock.load()
    Path(lock.path).write_bytes(text.encode("latin-1"))
    with pytest.raises(DvcException) as by_dvc:
        BY_DVC(lock)
    for _ in range(2):
        with pytest.raises(type(by_dvc.value)) as told:
            lock.load()
        assert str(told.value) == str(by_dvc.value)


def test_comments_stay_where_a_file_is_written_again(repo: Repo) -> None:
    lock = file_of(repo, "dvc.lock")
    Path(lock.path).write_text(f"# of the team\n{LOCK}")
    lock.load()
    assert "of the team" in str(lock._load_yaml(round_trip=True)[0].ca)


def test_a_params_file_is_parsed_once_for_each_of_its_contents(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(repo.root_dir, "params.yaml")
    read: Any = load_yaml
    for size in (1, 2):
        path.write_text(f"width: {{size: {size}}}\n")
        first = read(str(path))
        with monkeypatch.context() as patched:
            patched.setattr("ruamel.yaml.YAML.load", None)
            assert read(str(path)) == first == {"width": {"size": size}}
            first["width"]["size"] = 0  # DVC may change what it got
            assert read(str(path)) == {"width": {"size": size}}


def test_a_broken_params_file_is_told_each_time(repo: Repo) -> None:
    path = Path(repo.root_dir, "params.yaml")
    path.write_text("width: [\n")
    read: Any = load_yaml
    for _ in range(2):
        with pytest.raises(DvcException, match=r"params\.yaml"):
            read(str(path))

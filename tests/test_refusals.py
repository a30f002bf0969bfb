"""Files that cannot be priced: set aside until they change, told once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from housing.domain.refusals import SUFFIX, Refusal, forget, refuse, refused
from housing.errors import DataError

FAULT = DataError("the file has no column MedInc", "mend its header")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "june.csv"
    path.parent.mkdir()
    path.write_text("1,2\n")
    return path


def test_a_file_is_set_aside_until_it_changes(tmp_path: Path, file: Path) -> None:
    refuse(tmp_path, file, "price 1", FAULT, "run 1")
    found = refused(tmp_path, [file])[file]
    assert found.holds(file, "price 1")
    assert "mend its header" in found.reason
    assert not found.holds(file, "price 2"), "another model has other columns"
    file.write_text("1,2,3\n")
    assert not found.holds(file, "price 1")


def test_a_change_of_its_rights_is_a_change(tmp_path: Path, file: Path) -> None:
    refuse(tmp_path, file, "price 1", FAULT, "run 1")
    file.chmod(0o600)
    assert not refused(tmp_path, [file])[file].holds(file, "price 1")


def test_people_are_told_once_for_each_reason(tmp_path: Path, file: Path) -> None:
    def told(run: str, fault: DataError = FAULT, model: str = "price 1") -> bool:
        return refuse(tmp_path, file, model, fault, run)

    assert told("run 1")
    assert told("run 1"), "a second try of the same task"
    assert not told("run 2")
    assert not told("run 2", model="price 2")
    assert told("run 3", DataError("another reason"))
    file.write_text("1,2,3\n")
    assert told("run 4")


@pytest.mark.parametrize("name", [b"j\xfcne.csv", b"x" * 251 + b".csv", b"{{ 1 }}.csv", b"..csv"])
def test_every_name_has_a_place(tmp_path: Path, name: bytes) -> None:
    file = tmp_path / "in" / os.fsdecode(name)
    file.parent.mkdir()
    file.touch()
    assert refuse(tmp_path, file, "price 1", FAULT, "run 1")
    assert refused(tmp_path, [file])[file].holds(file, "price 1")
    forget(tmp_path, file)
    assert refused(tmp_path, [file]) == {}


def test_what_is_said_of_a_file_that_is_gone_goes_too(tmp_path: Path, file: Path) -> None:
    refuse(tmp_path, file, "price 1", FAULT, "run 1")
    file.unlink()
    assert refused(tmp_path, []) == {}
    assert list(tmp_path.glob(f"*{SUFFIX}")) == []


def test_a_torn_refusal_counts_for_none(tmp_path: Path, file: Path) -> None:
    (tmp_path / f"june.csv{SUFFIX}").write_text('{"file": "ju')
    assert Refusal.read(tmp_path, file) is None
    assert refuse(tmp_path, file, "price 1", FAULT, "run 1")

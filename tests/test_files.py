"""A file is there whole or not at all, and one that is broken stops nobody."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from housing.engine import stage_notes
from housing.engine.files import replacing, write_whole


@contextmanager
def full_disk() -> Iterator[None]:
    """Lets no file grow beyond 10 bytes: a write that would fails halfway, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_is_written_with_its_folder_and_the_users_permissions(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "note.json", "\N{EURO SIGN}\n")
    plain = tmp_path / "plain"
    plain.touch()
    note = tmp_path / "a" / "b" / "note.json"
    assert note.read_bytes() == b"\xe2\x82\xac\n"
    assert stat.S_IMODE(note.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("before", [None, "old"])
def test_a_full_disk_leaves_what_was_there_and_names_the_file(
    tmp_path: Path, before: str | None
) -> None:
    path = tmp_path / "note.json"
    if before is not None:
        path.write_text(before)
    with full_disk(), pytest.raises(OSError, match=r"too large: '.*/note\.json'"):
        write_whole(path, "more than ten bytes")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == (
        {} if before is None else {"note.json": before}
    )


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "table") as partial:
        partial.write_text(str(partial.write_text("half") / 0))
    assert list(tmp_path.iterdir()) == []


def test_the_longest_file_name_can_be_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("x" * 255), b"")
    assert (tmp_path / ("x" * 255)).exists()


@pytest.mark.parametrize("content", ["", "[]", '{"seconds": 1', "\0\0"])
def test_a_broken_note_of_a_stage_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    write_whole(stage_notes.duration_file(tmp_path, "train@a"), content)
    write_whole(tmp_path / stage_notes.LINKS / "train@a.json", content)
    assert stage_notes.last_duration(tmp_path, "train@a") is None
    assert stage_notes.last_links(tmp_path, "train@a") == {}
    assert "durations/train@a.json" in caplog.text
    assert "links/train@a.json" in caplog.text


def test_a_note_that_finds_no_room_does_not_fail_the_stage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk():
        stage_notes.note_duration(tmp_path, "train", 1.5)
    assert "durations/train.json" in caplog.text

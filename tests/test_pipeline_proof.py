"""A damaged file is neither restored nor read, though size, mode and time say that it is whole."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from housing.cli.doctor import deep
from housing.engine.errors import EngineError
from housing.engine.execution import cache_proof, lockfile, stage_run
from housing.settings import load_settings
from tests.conftest import MakeRepo

FILES = {
    "in.txt": "whole\n",
    "dvc.yaml": dedent("""
        stages:
          up: {cmd: "mkdir -p d; cp in.txt up.txt; cp in.txt d/a; echo 2 > d/b", deps: [in.txt],
               outs: [up.txt, d]}
          down: {cmd: cat up.txt d/a > down.txt, deps: [up.txt, d], outs: [down.txt]}
    """),
}


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    root = make_repo(FILES)
    stage_run.reproduce(root, "up")
    return root


def damage(path: Path) -> None:
    """Flips a bit as a bad disk does: mode, size, inode and times stay."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def cached(root: Path, out: str) -> Path:
    md5 = lockfile.read(root)["up"].outs[out].md5
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@pytest.mark.parametrize("gone", ["up.txt", "d/a", "d/b"])
def test_a_damaged_object_is_not_restored(
    gone: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    object_of = {"up.txt": cached(root, "up.txt"), "d/a": cached(root, "up.txt")}
    two = root / ".dvc/cache/files/md5/26/ab0db90d72e28ad0ba1e22ee510510"
    damage(object_of.get(gone, two))
    (root / gone).unlink()
    assert stage_run.reproduce(root, "up").state == "ran"
    assert "is damaged, so it is removed from the cache" in caplog.text
    assert (root / "d/a").read_text() == (root / "up.txt").read_text() == "whole\n"
    (root / gone).unlink()
    assert stage_run.reproduce(root, "up").state == "restored"
    assert cache_proof.damaged_objects(root) == (3, [])


@pytest.mark.parametrize("dep", ["up.txt", "d/a"])
def test_a_damaged_dep_is_not_read(dep: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_run.reproduce(root, "down")
    damage(root / dep)
    (root / "down.txt").unlink()
    with pytest.raises(EngineError, match=f"dep {dep}: .* -> ") as error:
        stage_run.reproduce(root, "down", force=True)
    assert f"rm {dep} && housing repro down" in error.value.hint
    assert cache_proof.damaged_outs(root) == [dep.partition("/")[0]]
    monkeypatch.setenv(cache_proof.SWITCH, "0")
    assert stage_run.reproduce(root, "down", force=True).state == "ran"
    monkeypatch.delenv(cache_proof.SWITCH)
    (root / dep).unlink()
    assert stage_run.reproduce(root, "up").state == "restored"
    assert stage_run.reproduce(root, "down", force=True).state == "ran"
    assert (root / "down.txt").read_text() == "whole\nwhole\n"
    assert cache_proof.damaged_outs(root) == []


def test_the_deep_look_of_the_doctor_names_what_is_damaged_and_how_to_heal_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(root)
    assert [finding.state for finding in deep(settings)] == ["ok", "ok"]
    damaged = cached(root, "up.txt")
    damage(damaged)
    damage(root / "up.txt")
    cache, outs = deep(settings)
    assert (cache.state, outs.state) == ("fault", "fault")
    assert cache.detail.startswith(f"1 of 3 objects in DVC's cache is damaged: {damaged}")
    monkeypatch.chdir(root)
    for finding in (cache, outs):
        command = finding.hint.partition(" && ")[0]
        subprocess.run(command, shell=True, check=True)
    assert stage_run.reproduce(root, "up").state == "ran"
    assert [finding.state for finding in deep(settings)] == ["ok", "ok"]

"""Data that ``.dvc`` files track: saved before a stage reads it, imports as stages of their own."""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from dvc.repo import Repo

from housing.engine import graph
from housing.engine.errors import StageFailedError
from housing.engine.execution import lockfile, stage_run
from housing.engine.execution.stage_result import Change
from tests.conftest import MakeRepo

FILES = {
    "dvc.yaml": """
stages:
  use: {cmd: cat in.csv raw/part.csv > out.txt, deps: [in.csv, raw/part.csv], outs: [out.txt]}
  other: {cmd: cp in.csv other.txt, deps: [in.csv], outs: [other.txt]}
  held: {cmd: cp in.csv held.txt, deps: [in.csv], outs: [held.txt], frozen: true}
""",
    "in.csv": "first\n",
    "raw/part.csv": "part\n",
}


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    root = make_repo(FILES)
    with Repo(str(root)) as repo:
        repo.add([str(root / "in.csv"), str(root / "raw")])
    return root


def tracked(root: Path, file: str) -> str:
    (out,) = yaml.safe_load((root / file).read_text())["outs"]
    return str(out["md5"])


def cached(root: Path, md5: str) -> Path:
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def change(path: Path, text: str) -> str:
    path.unlink()  # it may be a link into the cache
    path.write_text(text)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def status(root: Path) -> str:
    dvc = Path(sys.executable).with_name("dvc")
    done = subprocess.run([dvc, "status"], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


def test_changed_data_is_saved_before_a_stage_reads_it(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage_run.reproduce(root, "use")
    md5 = change(root / "in.csv", "second\n")
    part = change(root / "raw/part.csv", "more\n")
    with caplog.at_level(logging.INFO, "housing.engine.execution"):
        assert stage_run.reproduce(root, "use").state == "ran"
    assert "in.csv.dvc: its data changed and is saved" in caplog.text
    assert lockfile.read(root)["use"].deps == {"in.csv": md5, "raw/part.csv": part}
    assert tracked(root, "in.csv.dvc") == md5
    assert cached(root, md5).read_text() == "second\n"
    assert cached(root, part).read_text() == "more\n"
    # Whoever has the cache and these files gets the same data again.
    (root / "in.csv").unlink()
    shutil.rmtree(root / "raw")
    with Repo(str(root)) as repo:
        repo.checkout(targets=[str(root / "in.csv.dvc"), str(root / "raw.dvc")])
    assert stage_run.reproduce(root, "use").state == "unchanged"
    assert stage_run.reproduce(root, "other").state == "ran"
    assert "use" not in status(root)


def test_data_that_is_saved_is_left_alone(root: Path) -> None:
    stage_run.reproduce(root, "use")
    before = (root / "in.csv.dvc").stat().st_mtime_ns
    assert stage_run.reproduce(root, "use").state == "unchanged"
    assert stage_run.reproduce(root, "use", force=True).state == "ran"
    assert (root / "in.csv.dvc").stat().st_mtime_ns == before


def test_data_whose_cache_is_gone_is_cached_again(root: Path) -> None:
    md5 = tracked(root, "in.csv.dvc")
    cached(root, md5).unlink()
    stage_run.reproduce(root, "other")
    assert cached(root, md5).read_text() == "first\n"


def test_a_frozen_stage_saves_nothing(root: Path) -> None:
    before = tracked(root, "in.csv.dvc")
    change(root / "in.csv", "second\n")
    (root / "held.txt").write_text("as it was")
    stage_run.reproduce(root, "held")
    assert tracked(root, "in.csv.dvc") == before


def test_data_that_is_not_there_fails_with_what_to_do(root: Path) -> None:
    (root / "in.csv").unlink()
    with pytest.raises(StageFailedError, match=r"in\.csv") as error:
        stage_run.reproduce(root, "use")
    assert error.value.hint == "dvc pull"


def test_a_dvc_file_that_was_cut_off_is_brought_back(root: Path) -> None:
    md5 = change(root / "in.csv", "second\n")
    file = root / "in.csv.dvc"
    kept = root / ".dvc/tmp/housing/journal" / quote(file.name, safe="")
    kept.parent.mkdir(parents=True)
    kept.write_text(file.read_text())
    file.write_text(file.read_text()[:12])
    stage_run.reproduce(root, "other")
    assert tracked(root, "in.csv.dvc") == md5
    assert not kept.exists()


IMPORT = "deps: [{path: ../made.csv}]\nouts: [{path: copy.csv}]\n"
IMPORTING = {
    "dvc.yaml": """
stages:
  make: {cmd: cp in.csv made.csv, deps: [in.csv], outs: [made.csv]}
  use: {cmd: cp sub/copy.csv out.txt, deps: [sub/copy.csv], outs: [out.txt]}
""",
    "in.csv": "first\n",
    "sub/copy.dvc": IMPORT,
}


def test_an_import_that_is_not_frozen_is_a_stage_of_its_own(make_repo: MakeRepo) -> None:
    root = make_repo(IMPORTING)
    names = graph.load(root).names
    assert names == ("make", "sub/copy.dvc", "use")

    def verdicts() -> list[str]:
        return [stage_run.reproduce(root, name).state for name in names]

    first = [stage_run.reproduce(root, name) for name in names]
    assert [record.state for record in first] == ["ran", "ran", "ran"]
    assert first[1].reasons == (Change("new", "sub/copy.dvc"),)
    assert [out.path for out in first[1].outs if out.changed] == ["sub/copy.csv"]
    assert verdicts() == ["unchanged"] * 3
    (root / "in.csv").write_text("second\n")
    assert stage_run.reproduce(root, "make").state == "ran"
    (reason,) = stage_run.reproduce(root, "sub/copy.dvc").reasons
    assert (reason.kind, reason.name) == ("dep", "made.csv")
    assert stage_run.reproduce(root, "use").state == "ran"
    assert (root / "out.txt").read_text() == "second\n"
    assert verdicts() == ["unchanged"] * 3
    assert "up to date" in status(root)


def test_an_import_without_its_dep_fails(make_repo: MakeRepo) -> None:
    root = make_repo(IMPORTING)
    with pytest.raises(StageFailedError, match=r"sub/copy\.dvc needs what is not there"):
        stage_run.reproduce(root, "sub/copy.dvc")

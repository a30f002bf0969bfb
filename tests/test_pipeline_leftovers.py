from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from housing.engine.execution import lockfile
from housing.engine.execution.stage_run import reproduce
from tests.conftest import MakeRepo

FILES = {
    "in.txt": "rows",
    "params.yaml": "candidates: [deep, flat]\n",
    "dvc.yaml": dedent("""
        stages:
          train:
            matrix: {one: "${candidates}"}
            cmd: mkdir -p models && echo ${item.one} > models/${item.one}
            deps: [in.txt]
            outs: ["models/${item.one}"]
          compare:
            cmd: ls models > found
            deps: [models]
            outs: [found]
    """),
}


@pytest.fixture
def root(make_repo: MakeRepo) -> Path:
    """Two candidates were trained and compared, and one was removed since."""
    root = make_repo(FILES)
    for stage in ("train@deep", "train@flat", "compare"):
        reproduce(root, stage)
    assert (root / "found").read_text() == "deep\nflat\n"
    (root / "params.yaml").write_text("candidates: [flat]\n")
    return root


def test_a_removed_candidate_leaves_the_folder_that_is_compared(root: Path) -> None:
    (root / "models/notes").write_text("mine")
    assert reproduce(root, "compare").state == "ran"
    assert (root / "found").read_text() == "flat\nnotes\n"
    (root / "models/notes").unlink()
    reproduce(root, "compare")
    # As in a fresh clone, which has never seen the other candidate.
    alone = lockfile.read(root)["compare"].deps["models"]
    (root / "params.yaml").write_text(FILES["params.yaml"])
    assert reproduce(root, "train@deep").state == "restored"  # from the cache
    assert lockfile.read(root)["compare"].deps["models"] == alone
    assert (root / "models/deep").read_text() == "deep\n"


def test_what_somebody_changed_stays(root: Path) -> None:
    file = root / "models/deep"
    file.unlink()
    file.write_text("my own")
    reproduce(root, "compare")
    assert file.read_text() == "my own"

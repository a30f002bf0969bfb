from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import polars as pl
import pytest

from housing.engine import graph
from tests.stage_script import run_here

ROOT = Path(__file__).parents[1]
REAL = ROOT / "data" / "landing" / "california_housing.csv"
OUTS = (
    "data/interim/houses.parquet",
    "data/interim/quarantine.parquet",
    "reports/data_quality.json",
)


@pytest.fixture
def lines() -> list[str]:
    """Header and rows of the project's own delivery."""
    return REAL.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with the project's parameters and an empty landing folder."""
    copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "data" / "landing").mkdir(parents=True)
    return tmp_path


def deliver(project: Path, name: str, lines: Iterable[str]) -> None:
    (project / "data" / "landing" / name).write_text("\n".join(lines), encoding="utf-8")


def run(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "stages" / "ingest_data.py")],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_stage_writes_its_outputs(project: Path, lines: list[str]) -> None:
    deliver(project, "a.csv", lines[:102])
    deliver(project, "b.csv", [*lines[:51], lines[102].replace("-122", "-22")])
    done = run(project, DVC_STAGE="ingest_data", DVC_ROOT=str(project))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "152 rows in 2 file(s): 101 kept, 1 quarantined, 50 duplicates",
        "quarantined for: Longitude: above -114 (1)",
    ]
    kept, quarantine = (pl.read_parquet(project / out) for out in OUTS[:2])
    assert kept.height == 101
    assert kept["target"].head(2).to_list() == [452_600.0, 358_500.0]
    assert quarantine.rows(named=True)[0]["reasons"] == "Longitude: above -114"
    report = json.loads((project / OUTS[2]).read_text(encoding="utf-8"))
    assert (report["rows_in"], report["rows_duplicate"]) == (152, 50)
    assert list(project.rglob("*.partial")) == []


def test_the_stage_says_what_is_wrong(project: Path, lines: list[str]) -> None:
    deliver(project, "a.csv", [lines[0], lines[1].replace("8.3252", "83252")])
    done = run(project)
    assert done.returncode == os.EX_DATAERR
    assert done.stderr.startswith("error: 1 of 1 rows are bad")
    assert "a.csv, row 1: MedInc: above 20" in done.stderr
    assert "next: look at .housing/rejected_rows.csv" in done.stderr
    assert "Traceback" not in done.stderr
    assert (project / ".housing" / "rejected_rows.csv").exists()
    assert not any((project / out).exists() for out in OUTS)


def test_a_short_line_ends_the_process_by_its_exit_code(project: Path, lines: list[str]) -> None:
    deliver(project, "a.csv", [*lines[:50], "1,2"])
    done = run(project)  # Arrow's thread held the file, and aborted three in ten of these
    assert done.returncode == os.EX_DATAERR, done.stderr
    assert "Expected 9 columns, got 2" in done.stderr


def test_outputs_do_not_hang_on_the_number_of_threads(project: Path, lines: list[str]) -> None:
    deliver(project, "a.csv", lines[:15_000])
    deliver(project, "b.csv", [lines[0], *lines[10_000:]])
    outputs = []
    for threads in ("1", "3"):
        done = run(project, POLARS_MAX_THREADS=threads)
        assert done.returncode == 0, done.stderr
        outputs.append([(project / out).read_bytes() for out in OUTS])
    assert outputs[0] == outputs[1]


def test_under_dvc_a_broken_delivery_leaves_the_last_outputs(
    project: Path, lines: list[str]
) -> None:
    copytree(ROOT / "housing", project / "housing", ignore=ignore_patterns("__pycache__"))
    copytree(ROOT / "stages", project / "stages")
    for name in ("dvc.yaml", ".dvcignore"):
        copy(ROOT / name, project)
    (project / ".dvc").mkdir()
    (project / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    deliver(project, "a.csv", lines[:50])
    stages = graph.load(project).stages
    (name,) = (stage.name for stage in stages if "stages/ingest_data.py" in stage.cmd[0])
    assert dvc(project, "repro", name).returncode == 0
    before = [(project / out).read_bytes() for out in OUTS]

    deliver(project, "b.csv", [lines[0], "1,2"])
    failed = dvc(project, "repro", name)
    assert failed.returncode != 0
    assert "error: data/landing/b.csv cannot be read" in failed.stderr
    assert [(project / out).read_bytes() for out in OUTS] == before

    (project / "data" / "landing" / "b.csv").unlink()
    (project / "data" / "landing" / ".c.partial").touch()
    assert "didn't change, skipping" in dvc(project, "repro", name).stdout


def dvc(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    here = str(Path(sys.executable).parent)
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=project,
        env={
            **os.environ,
            "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(project / ".dvc" / "site"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_projects_own_delivery_is_good_to_the_last_row(project: Path) -> None:
    copy(REAL, project / "data" / "landing")
    assert run_here(project, "ingest_data").returncode == 0
    kept, quarantine = (pl.read_parquet(project / out) for out in OUTS[:2])
    assert (kept.height, quarantine.height) == (20_640, 0)
    assert kept["target"].mean() == pytest.approx(206_855.82, abs=0.01)
    assert kept["Population"].mean() == pytest.approx(1425.5, abs=0.05)


def test_an_open_quote_in_a_text_column_loses_no_row(project: Path, lines: list[str]) -> None:
    rows = [lines[0] + ",note", *(line + ",ok" for line in lines[1:1000])]
    rows[99] = lines[99] + ',"5 rooms'
    deliver(project, "a.csv", rows)
    done = run_here(project, "ingest_data")
    assert done.returncode == os.EX_DATAERR
    assert "a.csv cannot be read: line 100 opens a quote that it does not close" in done.stderr
    assert not (project / OUTS[0]).exists()


def test_what_is_left_out_is_told(project: Path, lines: list[str]) -> None:
    deliver(project, "a.csv", [lines[0] + ",note", lines[1] + ",x"])
    landing = project / "data" / "landing"
    for name in ("b.csv.gz", "c.xlsx", ".gitkeep"):
        (landing / name).touch()
    (landing / "d.parquet").mkdir()
    assert run_here(project, "ingest_data").stdout.splitlines()[1:] == [
        "columns of a.csv that params.yaml does not name: note",
        "no delivery, as only *.csv and *.parquet files are: b.csv.gz, c.xlsx, d.parquet/",
    ]


def test_a_delivery_that_comes_while_others_are_read(project: Path, lines: list[str]) -> None:
    deliver(project, "a.csv", lines[:102])
    late = "import housing.domain.data.ingest as i\n"
    late += "from housing.domain.data.quality import describe as d\n"
    late += "i.describe = lambda t: (open('data/landing/b.csv', 'w').write('x'), d(t))[1]\n"
    late += "import stages.ingest_data as s; s.stage.run(s.main)"
    command = [sys.executable, "-c", late]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert "b.csv came into data/landing while the other deliveries were read" in done.stderr
    assert not (project / OUTS[0]).exists()

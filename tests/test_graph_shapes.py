"""The graph of many shapes: as it is drawn here, as ``dvc dag`` has it, and as Airflow shows it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from airflow.sdk import DAG
from dvc.cli import main as dvc

from housing.engine import graph
from housing.engine.airflow.task_group import DvcTaskGroup
from housing.engine.airflow.task_ids import task_id_of
from tests.conftest import MakeRepo

# Edges from a stage to those that read its out; a letter alone is a stage without edges.
SHAPES = {
    "one stage": "a",
    "two apart": "a b",
    "a pair": "a>b",
    "a chain": "a>b b>c c>d d>e",
    "a long chain": " ".join(f"s{n}>s{n + 1}" for n in range(40)),
    "a fan out": "a>b a>c a>d a>e",
    "a fan in": "a>e b>e c>e d>e",
    "a wide fan out and in": " ".join(f"a>s{n} s{n}>z" for n in range(40)),
    "a diamond": "a>b a>c b>d c>d",
    "two diamonds in a row": "a>b a>c b>d c>d d>e d>f e>g f>g",
    "a diamond with its diagonal": "a>b a>c b>d c>d a>d",
    "an edge over two": "a>b b>c a>c",
    "edges over everything": "a>b a>c a>d b>c b>d c>d",
    "an hourglass": "a>c b>c c>d c>e",
    "two hourglasses with a shared waist": "a>c b>c c>x x>d x>e a>e",
    "a tree that grows": "a>b a>c b>d b>e c>f c>g",
    "a tree that falls together": "d>b e>b f>c g>c b>a c>a",
    "a caterpillar": "a>b b>c c>d a>x b>y c>z",
    "a ladder": "a>b b>c x>y y>z a>x b>y c>z",
    "two chains that cross": "a>b b>c x>y y>z a>y x>b",
    "all of three to all of three": " ".join(f"{a}>{b}" for a in "abc" for b in "xyz"),
    "a butterfly": "a>c a>d b>c b>d c>e d>f c>f d>e",
    "a grid": " ".join(
        f"g{a}{b}>g{a}{b + 1} g{b}{a}>g{b + 1}{a}" for a in range(4) for b in range(3)
    ),
    "two pipelines side by side": "a>b b>c x>y y>z",
    "a pipeline and a stage apart": "a>b b>c x",
    "written upside down": "c>d b>c a>b",
    "a late stage that reads the first": "a>b b>c c>d d>e e>f a>f",
}  # fmt: skip


def drawn(shape: str) -> dict[str, set[str]]:
    """Upstream by stage."""
    edges = [word.partition(">")[::2] for word in SHAPES[shape].split()]
    stages: dict[str, set[str]] = {name: set() for edge in edges for name in edge if name}
    for up, down in edges:
        if down:
            stages[down].add(up)
    return stages


def dvc_dag(capsys: pytest.CaptureFixture[str]) -> dict[str, set[str]]:
    """What ``dvc dag`` prints, in DVC's root folder."""
    capsys.readouterr()
    assert dvc(["dag", "--dot"]) == 0  # type: ignore[no-untyped-call]  # DVC's
    dot = capsys.readouterr().out
    edges = re.findall(r'"(.+)" -> "(.+)";', dot)
    nodes = {*re.findall(r'^\s*"([^"]+)";', dot, re.M), *(name for edge in edges for name in edge)}
    return {node: {up for up, down in edges if down == node} for node in nodes}


def in_airflow(root: Path) -> dict[str, set[str]]:
    """Upstream by stage, as the tasks of a DAG have it."""
    with DAG("shape", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        tasks = DvcTaskGroup("stages", root=root).stages
    names = {task_id_of(name): name for name in tasks}
    return {name: {names[up] for up in task.upstream_task_ids} for name, task in tasks.items()}


def test_every_shape_is_the_same_for_dvc_for_airflow_and_by_hand(
    make_repo: MakeRepo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_repo({})
    monkeypatch.chdir(root)
    assert len(SHAPES) >= 25
    for shape in SHAPES:
        wanted = drawn(shape)
        stages = {
            name: {"cmd": "make", "deps": sorted(ups), "outs": [name]}
            for name, ups in wanted.items()
        }
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        found = graph.load(root)
        assert {node.name: set(node.upstream) for node in found.stages} == wanted, shape
        assert dvc_dag(capsys) == wanted, shape
        assert in_airflow(root) == wanted, shape


def test_an_import_shows_as_a_task_that_says_what_it_does(make_repo: MakeRepo) -> None:
    files = {"raw.dvc": "deps: [{path: a}]\nouts: [{path: b}]\n", "a": ""}
    root = make_repo(files | {"dvc.yaml": "stages: {use: {cmd: cat b, deps: [b]}}\n"})
    with DAG("shape", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        tasks = DvcTaskGroup("stages", root=root).stages
    assert list(tasks) == ["raw.dvc", "use"]
    assert tasks["use"].upstream_task_ids == {"raw..2e.dvc"}
    assert tasks["raw.dvc"].task_display_name == "raw.dvc"
    assert "DVC fetches a" in str(tasks["raw.dvc"].doc_md)

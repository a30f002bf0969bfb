from __future__ import annotations

import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from dvc.cli import main as dvc

from housing.engine import graph
from housing.engine.errors import GraphError
from tests.conftest import MakeRepo

OUTS = "outs: [{{path: {}, md5: aaaaaaaabbbbbbbbccccccccdddddddd}}]\n"

# Each case: the files, and the edges as somebody who knows dvc.yaml draws them (stage: upstream).
CASES: dict[str, tuple[dict[str, str], dict[str, set[str]]]] = {
    "templating": (
        {
            "params.yaml": "file: a.txt\nnested: {out: b.txt}\n",
            "dvc.yaml": """
                stages:
                  a: {cmd: "touch ${file}", outs: ["${file}"]}
                  b: {cmd: "cp ${file} ${nested.out}", deps: ["${file}"], outs: ["${nested.out}"]}
            """,
        },
        {"a": set(), "b": {"a"}},
    ),
    "vars, of the file and of a stage": (
        {
            "more.yaml": "x: {y: from-file.txt}\n",
            "own/stage.json": '{"z": "from-stage.txt"}',
            "dvc.yaml": """
                vars: [more.yaml, {inline: inline.txt}]
                stages:
                  a: {cmd: touch it, outs: ["${x.y}", "${inline}"]}
                  b:
                    cmd: touch ${z}
                    wdir: own
                    vars: [stage.json]
                    deps: ["../${x.y}"]
                    outs: ["${z}"]
                  c: {cmd: cat it, deps: [own/from-stage.txt]}
            """,
        },
        {"a": set(), "b": {"a"}, "c": {"b"}},
    ),
    "foreach over a list and over a dict": (
        {
            "params.yaml": "models:\n  small: {depth: 2}\n  large: {depth: 9}\n",
            "dvc.yaml": """
                stages:
                  split:
                    foreach: [us, eu]
                    do: {cmd: "touch ${item}.csv", outs: ["${item}.csv"]}
                  train:
                    foreach: ${models}
                    do:
                      cmd: echo ${item.depth} > ${key}.bin
                      deps: [us.csv, eu.csv]
                      outs: ["${key}.bin"]
            """,
        },
        {
            "split@us": set(),
            "split@eu": set(),
            "train@small": {"split@us", "split@eu"},
            "train@large": {"split@us", "split@eu"},
        },
    ),
    "matrix": (
        {
            "params.yaml": "models: [linear, tree]\n",
            "dvc.yaml": """
                stages:
                  train:
                    matrix: {model: "${models}", fold: [1, 2]}
                    cmd: touch ${item.model}-${item.fold}
                    outs: ["${item.model}-${item.fold}"]
                  best: {cmd: ls, deps: [linear-1, tree-2]}
            """,
        },
        {
            "train@linear-1": set(),
            "train@linear-2": set(),
            "train@tree-1": set(),
            "train@tree-2": set(),
            "best": {"train@linear-1", "train@tree-2"},
        },
    ),
    "multiple commands, a frozen stage, one that always runs, one without outs": (
        {
            "dvc.yaml": """
                stages:
                  a: {cmd: [mkdir -p d, touch d/x], outs: [d]}
                  b: {cmd: ls d > l, deps: [d], outs: [l], frozen: true}
                  c: {cmd: cat l, deps: [l], always_changed: true}
                  alone: {cmd: date}
            """,
        },
        {"a": set(), "b": {"a"}, "c": {"b"}, "alone": set()},
    ),
    "folders: a dep inside an out, and outs inside a dep": (
        {
            "dvc.yaml": """
                stages:
                  whole: {cmd: make, outs: [data/whole]}
                  part: {cmd: cut, deps: [data/whole/part.csv], outs: [models/one.bin]}
                  other: {cmd: cut, outs: [models/two.bin]}
                  all: {cmd: ls, deps: [models], metrics: [score.json], plots: [curve.csv]}
                  report: {cmd: cat, deps: [score.json, curve.csv]}
            """,
        },
        {
            "whole": set(),
            "part": {"whole"},
            "other": set(),
            "all": {"part", "other"},
            "report": {"all"},
        },
    ),
    "several dvc.yaml, with their own params and working directories": (
        {
            "dvc.yaml": """
                stages:
                  raw: {cmd: touch raw.csv, outs: [raw.csv]}
                  last: {cmd: cat, deps: [sub/deep/clean.csv, elsewhere/w.txt]}
                  moved: {cmd: touch w.txt, wdir: elsewhere, outs: [w.txt]}
            """,
            "elsewhere/.keep": "",
            "sub/params.yaml": "name: clean.csv\n",
            "sub/dvc.yaml": """
                stages:
                  clean: {cmd: cp, wdir: deep, deps: [../../raw.csv], outs: ["${name}"]}
            """,
            "sub/deep/.keep": "",
        },
        {
            "raw": set(),
            "sub/dvc.yaml:clean": {"raw"},
            "moved": set(),
            "last": {"sub/dvc.yaml:clean", "moved"},
        },
    ),
    ".dvc files: an import, a frozen import, and added data": (
        {
            "dvc.yaml": """
                stages:
                  make: {cmd: touch made.csv, outs: [made.csv]}
                  use: {cmd: cat, deps: [copy.csv, kept.csv, added.csv]}
            """,
            "sub/copy.dvc": f"wdir: ..\ndeps: [{{path: made.csv}}]\n{OUTS.format('copy.csv')}",
            "kept.csv.dvc": f"frozen: true\ndeps: [{{path: made.csv}}]\n{OUTS.format('kept.csv')}",
            "added.csv.dvc": OUTS.format("added.csv"),
        },
        {
            "make": set(),
            "sub/copy.dvc": {"make"},
            "use": {"make", "sub/copy.dvc"},
        },
    ),
}


def written(make_repo: MakeRepo, files: dict[str, str]) -> Path:
    return make_repo({name: dedent(text) for name, text in files.items()})


@pytest.mark.parametrize("case", CASES)
def test_the_graph_is_the_one_drawn_by_hand(case: str, make_repo: MakeRepo) -> None:
    files, drawn = CASES[case]
    root = written(make_repo, files)
    for look in ("resolved", "from the manifest"):
        stages = graph.load(root).stages
        assert {stage.name: set(stage.upstream) for stage in stages} == drawn, look
        seen: set[str] = set()
        for stage in stages:
            assert seen.issuperset(stage.upstream), "a stage stands after its upstream"
            seen.add(stage.name)


@pytest.mark.parametrize("case", CASES)
def test_the_graph_is_the_one_that_dvc_dag_shows(
    case: str,
    make_repo: MakeRepo,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = written(make_repo, CASES[case][0])
    monkeypatch.chdir(root)
    assert dvc(["dag", "--dot"]) == 0  # type: ignore[no-untyped-call]  # DVC's
    dot = capsys.readouterr().out
    edges = set(re.findall(r'"(.+)" -> "(.+)";', dot))
    nodes = set(re.findall(r'^\s*"([^"]+)";', dot, re.M)) | {
        name for edge in edges for name in edge
    }
    found = graph.load(root).stages
    # DVC draws every .dvc file as a node; one that only holds data gets no task.
    files = {name for name in nodes if name.endswith(".dvc")} - {stage.name for stage in found}
    for file in files:
        before = {up for up, down in edges if down == file}
        after = {down for up, down in edges if up == file}
        edges |= {(up, down) for up in before for down in after}
    assert {stage.name for stage in found} == nodes - files
    ours = {(up, stage.name) for stage in found for up in stage.upstream}
    assert ours == {edge for edge in edges if not files & set(edge)}


def test_a_stage_carries_what_a_task_shows(make_repo: MakeRepo) -> None:
    root = make_repo(
        {
            "params.yaml": "seed: 1\ntrain: {depth: 3}\n",
            "other.yaml": "x: 1\n",
            "dvc.yaml": dedent("""
                stages:
                  train:
                    desc: Trains at depth ${train.depth}.
                    cmd: [echo 1, echo 2]
                    deps: [in.csv]
                    params: [seed, train.depth, {other.yaml: [x]}]
                    outs: [model.bin]
                    metrics: [score.json]
                    meta: {owner: us}
                  old: {cmd: cat, deps: [model.bin], frozen: true, always_changed: true}
            """),
        }
    )
    train, old = graph.load(root).stages
    assert train == graph.StageNode(
        name="train",
        cmd=("echo 1", "echo 2"),
        desc="Trains at depth 3.",
        deps=("in.csv",),
        params=("params.yaml:seed", "params.yaml:train.depth", "other.yaml:x"),
        outs=("model.bin", "score.json"),
        unpushed=(),
        upstream=(),
        data_sources=(),
        frozen=False,
        always_changed=False,
        meta={"owner": "us"},
        file="dvc.yaml",
    )
    assert (old.frozen, old.always_changed) == (True, True)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"dvc.yaml": "stages:\n  a: {cmd: [}\n"}, "dvc.yaml"),
        ({"dvc.yaml": "stages: {a: {cmd: x, oust: [y]}}\n"}, "oust"),
        ({"dvc.yaml": "stages: {a: {cmd: 'echo ${nothing.here}'}}\n"}, "nothing"),
        ({"dvc.yaml": "vars: [gone.yaml]\nstages: {a: {cmd: x}}\n"}, "gone.yaml"),
        ({"dvc.yaml": "stages: {a: {cmd: x}}\n", "params.yaml": "a: [\n"}, "params.yaml"),
        ({"dvc.yaml": "stages: {a: {cmd: x, outs: [o]}, b: {cmd: x, outs: [o]}}\n"}, "'o'"),
        (
            {"dvc.yaml": "stages: {a: {cmd: x, deps: [p], outs: [q]}, b: {cmd: x, deps: [q], "
             "outs: [p]}}\n"},
            "both a dependency and an output",
        ),
        ({"dvc.yaml": "3\n"}, "dvc.yaml"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(files: dict[str, str], said: str, make_repo: MakeRepo) -> None:
    root = make_repo(files)
    for _ in range(2):
        with pytest.raises(GraphError) as error:
            graph.load(root)
        assert said in error.value.fact


def test_every_broken_file_is_named_at_once(make_repo: MakeRepo) -> None:
    root = make_repo({"dvc.yaml": "stages: {a: {}}\n", "sub/dvc.yaml": "stages: {b: 3}\n"})
    with pytest.raises(GraphError) as error:
        graph.load(root)
    assert [line.partition(":")[0] for line in error.value.fact.splitlines()] == [
        "dvc.yaml",
        "sub/dvc.yaml",
    ]


def test_a_storage_whose_package_is_missing_is_named_with_the_package(
    make_repo: MakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dvc_s3", None)  # the group `workers` has it
    stages = '{a: {cmd: "true", deps: ["s3://bucket/key"]}}'
    with pytest.raises(GraphError) as told:
        graph.load(make_repo({"dvc.yaml": f"stages: {stages}"}))
    assert "s3 is supported, but requires 'dvc-s3'" in told.value.fact
    assert told.value.hint == "pip install dvc-s3"


def test_a_stage_knows_the_data_that_it_reads_and_no_stage_makes(make_repo: MakeRepo) -> None:
    root = written(make_repo, CASES[next(case for case in CASES if case.startswith(".dvc"))][0])
    assert graph.load(root)["use"].data_sources == ("added.csv.dvc", "kept.csv.dvc")
    assert graph.load(root)["make"].data_sources == ()


def test_what_ran_does_not_shape_the_graph(make_repo: MakeRepo) -> None:
    root = make_repo({"dvc.yaml": "stages: {a: {cmd: x}}\n", "dvc.lock": "<<<<<<< ours\n"})
    assert graph.load(root).names == ("a",)


def test_a_folder_without_dvc_is_refused_although_one_above_has_it(make_repo: MakeRepo) -> None:
    root = make_repo({"dvc.yaml": "stages: {a: {cmd: x}}\n", "sub/.keep": ""})
    with pytest.raises(GraphError, match="no DVC repository"):
        graph.load(root / "sub")


def test_an_unknown_stage_is_answered_with_the_nearest_names(make_repo: MakeRepo) -> None:
    stages = graph.load(make_repo({"dvc.yaml": "stages: {train: {cmd: x}, report: {cmd: x}}\n"}))
    assert stages["train"].cmd == ("x",)
    with pytest.raises(GraphError, match="did you mean train"):
        stages["trian"]
    with pytest.raises(GraphError, match="there are: train, report"):
        stages["zzz"]

"""Three repositories of other teams, in the shapes that real ones have, and what runs do to them.

- ``text``: prepare, featurize, train, evaluate, with data of ``dvc add``, params and plots.
- ``sweep``: a foreach over a dict, a matrix of 3 x 4, and a stage that reads all of it.
- ``mono``: two ``dvc.yaml`` in subfolders, one with ``wdir``, a ``.dvc`` import between them,
  and a params file in Python.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.repository import make_repository

RAN, RESTORED, SAME, FAILED, AFTER = "ran", "restored", "unchanged", "failed", "upstream_failed"
LEFT = "skipped"

# Every script waits where the file `slow` is: somebody kills it then.
WAIT = "while [ -e {up}slow ]; do sleep 0.1; done; "
SCRIPT = """
import json, pathlib, sys, time
while pathlib.Path("slow").exists():
    time.sleep(0.1)
params = json.loads(pathlib.Path("params.json").read_text())
"""
PREPARE = """
lines = pathlib.Path("data/data.xml").read_text().splitlines()[:: params["prepare"]["step"]]
pathlib.Path("data/prepared").mkdir(parents=True)
for name, rows in (("train", lines[::2]), ("test", lines[1::2])):
    pathlib.Path(f"data/prepared/{name}.tsv").write_text("\\n".join(rows))
"""
FEATURIZE = """
pathlib.Path("data/features").mkdir(parents=True)
for path in sorted(pathlib.Path("data/prepared").iterdir()):
    text = path.read_text()[: params["featurize"]["max_features"]]
    pathlib.Path(f"data/features/{path.stem}.json").write_text(json.dumps(sorted(text)))
"""
TRAIN = """
text = pathlib.Path("data/features/train.json").read_text()
pathlib.Path("model.pkl").write_text(f"{params['train']['n_est']} {hash(len(text))}")
"""
EVALUATE = """
model = pathlib.Path("model.pkl").read_text()
pathlib.Path("eval/plots").mkdir(parents=True)
pathlib.Path("eval/metrics.json").write_text(json.dumps({"auc": len(model)}))
pathlib.Path("eval/plots/roc.json").write_text(json.dumps([{"x": 0, "y": len(model)}]))
"""
SCRIPTS = {"prepare": PREPARE, "featurize": FEATURIZE, "train": TRAIN, "evaluate": EVALUATE}


def _python(name: str, **more: list[Any]) -> dict[str, Any]:
    deps = [f"src/{name}.py", *more.pop("deps")]
    return {"cmd": f"{sys.executable} src/{name}.py", "deps": deps, **more}


TEXT: dict[str, Any] = {
    "stages": {
        "prepare": _python(
            "prepare",
            deps=["data/data.xml"],
            params=[{"params.json": ["prepare"]}],
            outs=["data/prepared"],
        ),
        "featurize": _python(
            "featurize",
            deps=["data/prepared"],
            params=[{"params.json": ["featurize.max_features"]}],
            outs=["data/features"],
        ),
        "train": _python(
            "train",
            deps=["data/features"],
            params=[{"params.json": ["train"]}],
            outs=["model.pkl"],
        ),
        "evaluate": _python(
            "evaluate",
            deps=["model.pkl", "data/features"],
            outs=[{"eval/plots": {"cache": False}}],
            metrics=[{"eval/metrics.json": {"cache": False}}],
        ),
    },
    "plots": [{"roc": {"x": "x", "y": {"eval/plots/roc.json": "y"}}}],
}
SWEEP: dict[str, Any] = {
    "vars": ["sets.yaml"],
    "stages": {
        "clean": {
            "foreach": "${sets}",
            "do": {
                "cmd": WAIT.format(up="") + "head -n ${item.rows} raw/${key} > clean_${key}",
                "deps": ["raw/${key}"],
                "outs": ["clean_${key}"],
            },
        },
        "fit": {
            "matrix": {"model": ["linear", "tree", "net"], "fold": [0, 1, 2, 3]},
            "cmd": WAIT.format(up="") + "cat clean_* > fit_${item.model}_${item.fold}; "
            "echo ${depth} >> fit_${item.model}_${item.fold}; test ${depth} -lt 90",
            "deps": ["clean_a", "clean_b"],
            "params": ["depth"],
            "outs": ["fit_${item.model}_${item.fold}"],
        },
        "compare": {
            "cmd": WAIT.format(up="") + "cat fit_* > table",
            "deps": [
                f"fit_{model}_{fold}" for model in ("linear", "tree", "net") for fold in range(4)
            ],
            "metrics": [{"table": {"cache": False}}],
        },
    },
}
ETL: dict[str, Any] = {
    "stages": {
        "clean": {
            "wdir": "../shared",
            "cmd": WAIT.format(up="../") + "sort raw.csv > clean.csv",
            "deps": ["raw.csv"],
            "outs": ["clean.csv"],
        }
    }
}
FIT: dict[str, Any] = {
    "stages": {
        "fit": {
            "cmd": WAIT.format(up="../")
            + "cat rows.csv params.py > model; grep -q 'LR = 0' params.py",
            "deps": ["rows.csv"],
            "params": [{"params.py": ["LR", "Net.depth"]}],
            "outs": ["model"],
        },
        "report": {
            "cmd": WAIT.format(up="../") + "wc -c < model > report.txt",
            "deps": ["model"],
            "metrics": [{"report.txt": {"cache": False}}],
        },
    }
}
IMPORT: dict[str, Any] = {"deps": [{"path": "../shared/clean.csv"}], "outs": [{"path": "rows.csv"}]}
PARAMS_PY = "LR = {lr}\n\n\nclass Net:\n    depth = {depth}\n"


@dataclass(frozen=True)
class Repository:
    """A repository of another team, with what is done to it.

    Attributes:
        make: Makes it in an empty folder.
        changed: Changes one param.
        broken: Makes one stage fail.
        override: An override of a param, as the trigger form takes it.
        forced: A stage to force.
        last_out: An out that the override would change.
        states: By what is done, the state of each stage, as its record or Airflow has it.
    """

    make: Callable[[Path], None]
    changed: Callable[[Path], None]
    broken: Callable[[Path], None]
    override: str
    forced: str
    last_out: str
    states: Mapping[str, Mapping[str, str]]


def _write(root: Path, files: Mapping[str, str | dict[str, Any]]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        path.write_text(text)


def _text_params(root: Path, n_est: object, step: object = 1) -> None:
    values = {
        "prepare": {"step": step},
        "featurize": {"max_features": 90},
        "train": {"n_est": n_est},
    }
    (root / "params.json").write_text(json.dumps(values))


def _make_text(root: Path) -> None:
    make_repository(root)
    scripts = {f"src/{name}.py": SCRIPT + body for name, body in SCRIPTS.items()}
    _write(root, {"dvc.yaml": TEXT, **scripts, "data/data.xml": "<row/>\n" * 20})
    _text_params(root, 50)
    subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--quiet", "data/data.xml"], cwd=root, check=True
    )


def _make_sweep(root: Path) -> None:
    make_repository(root)
    sets = {"sets": {"a": {"rows": 2}, "b": {"rows": 3}}}
    rows = {f"raw/{name}": f"{name}1\n{name}2\n{name}3\n{name}4\n" for name in "ab"}
    _write(root, {"dvc.yaml": SWEEP, "sets.yaml": sets, "params.yaml": {"depth": 3}, **rows})


def _make_mono(root: Path) -> None:
    make_repository(root)
    _write(
        root,
        {
            "etl/dvc.yaml": ETL,
            "fit/dvc.yaml": FIT,
            "fit/rows.csv.dvc": IMPORT,
            "fit/params.py": PARAMS_PY.format(lr=0.1, depth=3),
            "shared/raw.csv": "b\na\n",
        },
    )


def _states(names: str, **by_step: str) -> dict[str, dict[str, str]]:
    """A letter for the state of each stage, in the order of the names, by step."""
    letters = {"R": RAN, "C": RESTORED, "=": SAME, "F": FAILED, "A": AFTER, "-": LEFT}
    stages = names.split()
    return {
        step: dict(zip(stages, (letters[letter] for letter in word), strict=True))
        for step, word in by_step.items()
    }


FITS = " ".join(f"fit@{model}-{fold}" for model in ("linear", "tree", "net") for fold in range(4))
REPOSITORIES = {
    "text": Repository(
        _make_text,
        changed=lambda root: _text_params(root, 60),
        broken=lambda root: _text_params(root, 60, "broken"),
        override="params.json:train.n_est=70",
        forced="featurize",
        last_out="model.pkl",
        states=_states(
            "prepare featurize train evaluate",
            cold="RRRR",
            unchanged="====",
            changed="==RR",
            failing="FAAA",
            mended="C===",
            forced="=R==",
            overridden="==RR",
            killed="R===",
        ),
    ),
    "sweep": Repository(
        _make_sweep,
        changed=lambda root: _write(root, {"params.yaml": {"depth": 4}}),
        broken=lambda root: _write(root, {"params.yaml": {"depth": 90}}),
        override="depth=5",
        forced="fit@tree-2",
        last_out="table",
        states=_states(
            f"clean@a clean@b {FITS} compare",
            cold="RR" + "R" * 12 + "R",
            unchanged="==" + "=" * 12 + "=",
            changed="==" + "R" * 12 + "R",
            failing="==" + "F" * 12 + "A",
            mended="==" + "C" * 12 + "=",
            forced="==" + "=" * 6 + "R" + "=" * 5 + "=",
            overridden="==" + "R" * 12 + "R",
            killed="R=" + "=" * 12 + "=",
        ),
    ),
    "mono": Repository(
        _make_mono,
        changed=lambda root: _write(root, {"fit/params.py": PARAMS_PY.format(lr=0.2, depth=3)}),
        broken=lambda root: _write(root, {"fit/params.py": PARAMS_PY.format(lr=1, depth=3)}),
        override="fit/params.py:Net.depth=4",
        forced="fit/dvc.yaml:fit",
        last_out="fit/model",
        states=_states(
            "etl/dvc.yaml:clean fit/rows.csv.dvc fit/dvc.yaml:fit fit/dvc.yaml:report",
            cold="RRRR",
            unchanged="====",
            changed="==RR",
            failing="==FA",
            mended="==C=",
            forced="==R=",
            overridden="==RR",
            killed="R===",
        ),
    ),
}

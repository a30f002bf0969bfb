"""What a run holds: metrics, parameters and tags, made from the files of a result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from housing.domain.config import Params
from housing.domain.config_rules import plain_name
from housing.engine.execution.lockfile import read
from housing.engine.stage_notes import last_duration
from housing.mlops.tracking.result import REPORT, Result

TRAINING = Path("reports/training")
LIMIT = 6000
"""Characters that MLflow keeps of one parameter."""

Point = tuple[str, float, int]
"""Name, value and step of a metric."""


def metrics(result: Result) -> list[Point]:
    """Every metric of a result: on test with intervals, on validation, curves, seconds.

    Args:
        result: The result in the workspace.
    """
    report = json.loads((result.root / REPORT).read_text(encoding="utf-8"))
    points = [(f"test_{name}", float(value), 0) for name, value in report["metrics"].items()]
    for name, interval in report["intervals"].items():
        points += [(f"test_{name}_{end}", float(interval[end]), 0) for end in ("low", "high")]
    chosen = report["candidates"][result.candidate]
    points += [(f"validation_{name}", float(value), 0) for name, value in chosen.items()]
    interval = report["prediction_interval"]
    points += [
        ("interval_coverage", float(interval["coverage"]), 0),
        ("interval_halfwidth", float(interval["halfwidth"]), 0),
    ]
    points += [(f"rows_{side}", float(count), 0) for side, count in report["rows"].items()]
    return [*points, *_curves(result.root, report["candidates"]), *_seconds(result.root)]


def parameters(params: Params) -> dict[str, str]:
    """The parameters that shaped the result, flattened.

    The gate's and the registry's are left out: they judge a result and may change after it.

    Args:
        params: All of ``params.yaml``.
    """
    content = params.model_dump(
        mode="json", exclude={"gate": True, "registry": True}, exclude_none=True
    )
    for column in content["data"]["columns"].values():
        del column["description"]
    return {key: value[:LIMIT] for key, value in _flatten(content)}


def _curves(root: Path, candidates: Iterable[str]) -> Iterator[Point]:
    for candidate in sorted(candidates):
        path = root / TRAINING / f"{candidate}.json"
        training = json.loads(path.read_text(encoding="utf-8"))
        for point in training["curve"]:
            for side in ("train", "validation"):
                name = plain_name(f"{candidate}_{side}_rmse")
                yield name, float(point[f"{side}_rmse"]), int(point["iteration"])


def _seconds(root: Path) -> Iterator[Point]:
    for stage in sorted(read(root)):
        seconds = last_duration(root, stage)
        if seconds is not None:
            yield seconds_name(stage), seconds, 0


def seconds_name(stage: str) -> str:
    """Name of the metric with a stage's duration: of ``train@a`` it is ``seconds_train.a``.

    Args:
        stage: DVC's name of the stage; keys of a foreach may hold any letter.
    """
    return plain_name(f"seconds_{stage.replace('@', '.').replace(':', '.')}")


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield plain_name(f"{prefix}{name}"), text

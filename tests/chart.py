"""Checks the values in ``deploy/kubernetes`` against the schema of Airflow's official Helm chart.

``make chart-test``, or ``python -m tests.chart FILE`` with a ``values.schema.json``, which is
downloaded otherwise. Not part of pytest: it needs the network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema import Draft7Validator

CHART = "1.22.0"
URL = (
    f"https://raw.githubusercontent.com/apache/airflow/helm-chart/{CHART}/chart/values.schema.json"
)
FOLDER = Path(__file__).parents[1] / "deploy/kubernetes"


def faults(schema: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """What the chart would refuse, and keys of the first level that it would not look at."""
    found = Draft7Validator(schema).iter_errors(values)
    unknown = sorted(values.keys() - schema["properties"].keys())
    return [f"{error.json_path}: {error.message}" for error in found] + [
        f"$.{key}: the chart has no such key" for key in unknown
    ]


def main() -> None:
    """Prints what is wrong; the exit code says whether anything is."""
    if sys.argv[1:]:
        schema = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    else:
        schema = httpx.get(URL, timeout=60, follow_redirects=True).raise_for_status().json()
    values = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
    values["podTemplate"] = (FOLDER / "pod-template.yaml").read_text(encoding="utf-8")
    found = faults(schema, values)
    sys.stdout.write("\n".join(found) or f"{len(values)} values fit the chart's schema")
    sys.stdout.write("\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()

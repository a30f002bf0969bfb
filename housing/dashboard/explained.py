"""Prices that are explained on the page: read from MLflow, and made ready for the page's script."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from pydantic import TypeAdapter, ValidationError

from housing.dashboard.files import RunFiles
from housing.dashboard.model import Detail
from housing.dashboard.runs import Row
from housing.domain.explained_rows import ExplainedRow
from housing.domain.explanation import Comparable

FILE = "reports/explanations.json"

_log = logging.getLogger(__name__)


def read_explained(run_id: str, files: RunFiles) -> tuple[ExplainedRow, ...]:
    """Reads what the evaluation of a result explained.

    Args:
        run_id: MLflow's run of the result.
        files: Where downloads go.

    Returns:
        The rows in the order of the file; none where the result was made by code that explained
        nothing, or by one that wrote another format.
    """
    content = files.json(run_id, FILE)
    if content is None:
        return ()
    try:
        return TypeAdapter(tuple[ExplainedRow, ...]).validate_python(content)
    except ValidationError as error:
        _log.warning("%s of MLflow run %s is left out: %s", FILE, run_id, error)
        return ()


def houses(model: str, detail: Detail) -> Iterator[Row]:
    """The rows of the table of explained prices, in which dollars are whole.

    Args:
        model: How the page calls the result.
        detail: The result.
    """
    for number, row in enumerate(detail.explained):
        price = row.explanation
        yield {
            "model": model,
            "house": number,
            "kind": row.kind,
            "actual": round(row.actual),
            "predicted": round(price.prediction),
            "lower": round(price.lower),
            "upper": round(price.upper),
            "base": round(price.base),
            "latitude": row.latitude,
            "longitude": row.longitude,
            "columns": {name: _short(value) for name, value in row.columns.items()},
            "added": [[part.name, round(part.dollars)] for part in price.contributions],
            "names": _names(price.comparables),
            "similar": [_similar(one) for one in price.comparables],
        }


def _names(comparables: Iterable[Comparable]) -> list[str]:
    """What similar houses are compared by."""
    return list(next((one.columns for one in comparables), {}))


def _similar(one: Comparable) -> list[float | str | None]:
    """Price, distance in km, and the columns of a similar house."""
    return [round(one.price), round(one.km, 1), *(_short(v) for v in one.columns.values())]


def _short(value: float | str | None) -> float | str | None:
    """A value with as many digits as a person reads."""
    return float(f"{value:.5g}") if isinstance(value, float) else value

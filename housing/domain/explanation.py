"""Why a house has its price: what each thing about it adds, and what houses like it cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from housing.domain.columns import Frozen
from housing.domain.config_rules import DATE_FEATURES
from housing.domain.features import Transform
from housing.domain.formulas import Scale
from housing.domain.model import Model

Prices: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

COMPARABLES: Final = 5
"""Houses that are named beside a price."""
LOCATION: Final = "location"
"""Group of all that is made of latitude and longitude."""
GROUPS: Final = {
    "near": "prices nearby",
    "alike": "prices of similar houses",
    "around": "neighbourhood",
}
"""Groups of what is made of the training rows around a house, by the start of their names."""


class Contribution(Frozen):
    """What one thing about a house adds to its price.

    Attributes:
        name: A column, a ratio or an age, or a group of features: `LOCATION`, those of `GROUPS`.
        dollars: What it adds to the price; negative where it lowers the price.
    """

    name: str
    dollars: float


class Comparable(Frozen):
    """A house that the model learned from.

    Attributes:
        price: In dollars.
        km: Distance on the map.
        columns: What it was found by, each value in the unit of its column.
    """

    price: float
    km: float
    columns: dict[str, float | None]


class Explanation(Frozen):
    """Why a house has its price.

    Attributes:
        prediction: The price in dollars.
        lower: Lower end of its interval, in dollars.
        upper: Upper end of its interval, in dollars.
        base: What the model answers on average, in dollars.
        contributions: The largest first; with `base` they add up to the price, but for rounding.
        comparables: The most similar training rows, the most similar first; none where the model
            knows no neighbours, or the house has no location.
    """

    prediction: float
    lower: float
    upper: float
    base: float
    contributions: tuple[Contribution, ...]
    comparables: tuple[Comparable, ...]


def explanations(
    model: Model, transform: Transform, x: NDArray[np.float32], prices: Prices
) -> Iterator[Explanation]:
    """Explains the prices of some houses.

    Args:
        model: The model.
        transform: What made the features.
        x: As `Model.predict` takes it, shape (rows, features).
        prices: What the model answers, and the ends of its intervals, in dollars; each of shape
            (rows,).

    Yields:
        An explanation for each row.
    """
    parts = zip(
        *(price.tolist() for price in prices),
        contributions(model, transform, x),
        comparables(model, transform, x),
        strict=True,
    )
    for prediction, lower, upper, (base, added), alike in parts:
        yield Explanation(
            prediction=prediction,
            lower=lower,
            upper=upper,
            base=base,
            contributions=added,
            comparables=alike,
        )


def contributions(
    model: Model, transform: Transform, x: NDArray[np.float32]
) -> Iterator[tuple[float, tuple[Contribution, ...]]]:
    """Says what each thing about some houses adds to their prices.

    Shapley values of the features (Lundberg et al. 2020, "From local explanations to global
    understanding with explainable AI for trees", Nature Machine Intelligence 2), as XGBoost gives
    them. Those of one group are added up, which Shapley values allow.

    Args:
        model: The model.
        transform: What made the features.
        x: As `Model.predict` takes it, shape (rows, features).

    Yields:
        For each row the average price, and the contributions, the largest first.
    """
    base, added = model.contributions(x)
    group = _groups(transform)
    if model.neighbours is not None:
        group |= {name: GROUPS[name.partition("_")[0]] for name in model.neighbours.names}
    groups: dict[str, NDArray[np.float64]] = {}
    for feature, dollars in added.items():
        name = group.get(feature, feature)
        groups[name] = groups.get(name, np.zeros(len(x))) + dollars
    for row, middle in enumerate(base):
        found = [Contribution(name=name, dollars=float(all_[row])) for name, all_ in groups.items()]
        found.sort(key=lambda one: (-abs(one.dollars), one.name))
        yield float(middle), tuple(found)


def comparables(
    model: Model, transform: Transform, x: NDArray[np.float32]
) -> Iterator[tuple[Comparable, ...]]:
    """Finds the training rows that are most similar to some houses.

    Args:
        model: The model.
        transform: What made the features.
        x: As `Model.predict` takes it, shape (rows, features).

    Yields:
        For each row up to `COMPARABLES` training rows.
    """
    known = model.neighbours
    if known is None:
        yield from [()] * len(x)
        return
    scales = [transform.numbers[name] for name in known.columns]
    for row in model.needed(x):
        if not np.isfinite(row[:2]).all():
            yield ()
            continue
        index, km = known.most_similar(row, COMPARABLES)
        yield tuple(
            Comparable(
                price=float(known.prices[number]),
                km=float(away),
                columns={
                    name: unscaled(float(value), scale)
                    for name, value, scale in zip(
                        known.columns, known.rows[number], scales, strict=True
                    )
                },
            )
            for number, away in zip(index, km, strict=True)
        )


def _groups(transform: Transform) -> dict[str, str]:
    """What a feature is made of: a column, or the location. Other features stand for themselves."""
    found: dict[str, str] = {}
    for name, kind in transform.inputs.items():
        if kind == "date":
            found |= {f"{name}_{part}": name for part in DATE_FEATURES}
        if kind == "string":
            levels = [f"{name}={level}" for level in transform.categories[name]]
            found |= dict.fromkeys((f"{name}_price", *levels), name)
    if transform.location is not None:
        found |= dict.fromkeys(transform.location, LOCATION)
        found |= {f"km_to_{name}": LOCATION for name in transform.places}
        found |= {
            f"rotated_{degrees:g}_{axis}": LOCATION
            for degrees in transform.rotations
            for axis in ("x", "y")
        }
    return found


def unscaled(feature: float, scale: Scale) -> float | None:
    """The value that a numeric feature was made of.

    Args:
        feature: Of a house, standardised.
        scale: How the feature was standardised.

    Returns:
        It in its own unit, without the digits that a Float32 does not have; None where it is
        missing.
    """
    value = feature * scale.scale + scale.mean
    return float(f"{value:.7g}") if np.isfinite(value) else None

"""How good the candidates are, on splits that others have published and on harder ones.

    make quality

Every split is 64/16/20: a candidate learns from the first part and stops early on the second, which
calibrates the prediction interval too. That model's RMSE on the third part is ``as published``, for
published models learn from 64 % alone. ``RMSE`` is that of what the pipeline makes: it learns once
more, from the second part too. ``published`` is
scikit-learn's ``train_test_split`` with random_state 0, and 1 for the rest; ``random`` is the same
with the states 1 to 5, and one more for the rest. These cut single rows, as published results do,
so two houses of one place may stand on both sides. ``blocked`` draws whole squares of 0.5 degrees:
how good is the price where no house is known?

Seconds are of one processor. ``width`` is the mean width of the interval, ``one width`` that of the
interval that is as wide everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from housing.domain.config import Params, load_params
from housing.domain.coverage import regions
from housing.domain.evaluation import located
from housing.domain.features import Transform, label
from housing.domain.interval import Interval
from housing.domain.metrics import conformal_halfwidth, regression_metrics
from housing.domain.split import row_ids, sides
from housing.domain.tables import Table
from housing.domain.training import train

ROOT = Path(__file__).parent.parent
SEEDS = range(1, 6)
DEGREES = 0.5
TEST, VALIDATION = 0.2, 0.16
PUBLISHED = (
    ("XGBoost, tuned", "43,400", "Gorishniy et al. 2021, arXiv:2106.11959"),
    ("CatBoost, tuned", "42,300 to 43,000", "arXiv:2106.11959 and arXiv:2307.14338"),
    ("TabR", "40,000 to 40,300", "Gorishniy et al. 2023, arXiv:2307.14338"),
)

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Scored:
    """One candidate on one split: dollars, shares, and seconds of one processor."""

    rmse: float
    first: float
    coverage: float
    width: float
    one_width: float
    features: float
    training: float
    scoring: float


def main() -> None:
    """Prints the table."""
    params = load_params(ROOT / "params.yaml")
    houses = read_houses(params)
    print(
        "split      candidate     RMSE, $      sd  as published      sd   coverage  width, $  "
        "one width, $  "
        "features, s  training, s   rows/s",
        flush=True,
    )
    for kind, splits in (
        ("published", [randomly(len(houses), 0)]),
        ("random", [randomly(len(houses), seed) for seed in SEEDS]),
        ("blocked", [blocked(houses, params, seed) for seed in SEEDS]),
    ):
        for candidate in params.candidates:
            scored = [run(houses, params, candidate, parts) for parts in splits]
            print_line(kind, candidate, scored, len(splits[0][2]))
    print("\nPublished for splits of this kind:")
    for name, rmse, source in PUBLISHED:
        print(f"  {name:<16} {rmse:>17}   {source}")


def print_line(kind: str, candidate: str, scored: list[Scored], rows: int) -> None:
    """Prints the mean over the splits of one kind."""

    def spread(errors: list[float]) -> str:
        return f"{stdev(errors):,.0f}" if len(errors) > 1 else "-"

    def of(name: str) -> float:
        return mean(float(getattr(one, name)) for one in scored)

    print(
        f"{kind:<10} {candidate:<12} {of('rmse'):>8,.0f} {spread([s.rmse for s in scored]):>7} "
        f"{of('first'):>13,.0f} {spread([s.first for s in scored]):>7} {of('coverage'):>10.1%} "
        f"{of('width'):>9,.0f} {of('one_width'):>13,.0f} {of('features'):>12.2f} "
        f"{of('training'):>12.1f} {rows / of('scoring'):>8,.0f}",
        flush=True,
    )


def read_houses(params: Params) -> pl.DataFrame:
    """All rows of California's delivery, with prices in dollars."""
    houses = pl.read_csv(ROOT / "data/landing/california_housing.csv")
    scale = params.data.columns[params.data.target].scale
    return houses.with_columns(pl.col(params.data.target) * scale)


def tested_nowhere(houses: pl.DataFrame, params: Params) -> pl.DataFrame:
    """The rows that neither the pipeline nor the published cut tests on."""
    tested = sides(row_ids(houses, params.data.identity), params.seed, params.split) == "test"
    published = pl.Series(np.isin(np.arange(len(houses)), randomly(len(houses), 0)[2]))
    return houses.filter(~tested & ~published)


def tables(
    houses: pl.DataFrame, params: Params, parts: Sequence[Rows]
) -> tuple[Transform, list[Table]]:
    """The features of some parts, made by what was learned from the first."""
    # Each row is an identity of its own: that is how these splits cut.
    ids = pl.Series([f"{row:016x}" for row in range(len(houses))])
    transform = Transform.fit(houses[parts[0]], params)
    return transform, [
        Table(label(houses[rows], ids[rows], transform.apply(houses[rows]), params.data))
        for rows in parts
    ]


def randomly(count: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Cuts single rows, as published results do."""
    rest, test = train_test_split(np.arange(count), test_size=0.2, random_state=seed)
    learn, validation = train_test_split(rest, test_size=0.2, random_state=seed + 1)
    return learn, validation, test


def blocked(houses: pl.DataFrame, params: Params, seed: int) -> tuple[Rows, Rows, Rows]:
    """Cuts whole squares of the map."""
    location = params.data.location
    if location is None:
        raise SystemExit("the table has no location")
    square = pl.struct(*((pl.col(name) / DEGREES).floor() for name in location)).rank("dense")
    codes = houses.select(square).to_series().to_numpy() - 1
    drawn = np.random.default_rng(seed).random(int(codes.max()) + 1)[codes]
    test = drawn < TEST
    validation = ~test & (drawn < TEST + VALIDATION)
    return np.flatnonzero(~test & ~validation), np.flatnonzero(validation), np.flatnonzero(test)


def run(
    houses: pl.DataFrame, params: Params, candidate: str, parts: tuple[Rows, Rows, Rows]
) -> Scored:
    """Trains one candidate on one split and scores it."""
    start = time.process_time()
    transform, (learn, validation, test) = tables(houses, params, parts)
    made = time.process_time()
    training = train(params.train[candidate], learn, validation, params.seed, transform)
    trained = time.process_time()
    predicted = training.model.predict(test.x)
    seconds = time.process_time() - trained
    known, coverage = training.first.held_out, params.evaluate.coverage
    here, places = located(validation), params.features.places
    interval = Interval.fit(validation.y, known, coverage, regions(here, places))
    lower, upper = interval.around(predicted, regions(located(test), places))
    return Scored(
        rmse=regression_metrics(test.y, predicted)["rmse"],
        first=regression_metrics(test.y, training.first.model.predict(test.x))["rmse"],
        coverage=float(np.mean((lower <= test.y) & (test.y <= upper))),
        width=float(np.mean(upper - lower)),
        one_width=2 * conformal_halfwidth(validation.y, known, coverage),
        features=made - start,
        training=trained - made,
        scoring=seconds,
    )


if __name__ == "__main__":
    main()

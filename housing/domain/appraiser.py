"""Prices houses with the files of a logged model, by the rules that were logged with them.

This is what a logged model does. MLflow's server reaches it by way of ``pyfunc_model.py``, batch
scoring and the gate by way of ``score_worker.py``; both run the copy that lies in the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from housing.domain.columns import Column
from housing.domain.coverage import regions
from housing.domain.data.schema import REASONS, ROW, RowSchema, Split
from housing.domain.explanation import Prices, explanations
from housing.domain.features import Transform
from housing.domain.interval import Interval
from housing.domain.model import Model


@dataclass(frozen=True)
class Appraiser:
    """A model with all that it takes to price a house.

    Attributes:
        model: The booster.
        transform: Makes the features.
        schema: The columns that a house has, with their rules.
        interval: The prediction interval.
    """

    model: Model
    transform: Transform
    schema: RowSchema
    interval: Interval

    @classmethod
    def load(cls, files: Mapping[str, str | Path]) -> Self:
        """Reads the files of a logged model.

        Args:
            files: Their paths, by the names that the model gives its artifacts.
        """
        report = json.loads(Path(files["report"]).read_text(encoding="utf-8"))
        rules = json.loads(Path(files["columns"]).read_text(encoding="utf-8"))
        return cls(
            Model.load(Path(files["model"])),
            Transform.load(Path(files["transform"])),
            RowSchema({name: Column.model_validate(rules[name]) for name in rules}),
            Interval.read(report),
        )

    def price(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Prices houses.

        A row that breaks a rule, by which training and batch scoring send a row to quarantine, has
        no price but reasons. The other rows are priced all the same.

        Args:
            rows: One house a line. A nullable column may be left out.

        Returns:
            `prediction`, and the ends of its interval `lower` and `upper`, in dollars; `reasons`,
            null where there is a price. A line for each house; null stands for what is not there.
        """
        split = self.schema.split(self._complete(rows))
        dollars = {
            name: pl.repeat(None, rows.height, dtype=pl.Float64, eager=True)
            for name in ("prediction", "lower", "upper")
        }
        if split.good.height:
            _, prices = self._answer(split.good)
            good = np.delete(np.arange(rows.height), split.bad[ROW] - 1)
            for one, values in zip(dollars.values(), prices, strict=True):
                one.scatter(good, values)
        return pl.DataFrame({**dollars, REASONS: _reasons(rows, split)})

    def explain(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Explains prices.

        Args:
            rows: As `price` takes them.

        Returns:
            `explanation`, an `Explanation` as JSON; `reasons`, null where there is a price. A line
            for each house; null stands for what is not there.
        """
        split = self.schema.split(self._complete(rows))
        texts: list[str | None] = [None] * rows.height
        if split.good.height:
            good = np.delete(np.arange(rows.height), split.bad[ROW] - 1)
            found = explanations(self.model, self.transform, *self._answer(split.good))
            for row, one in zip(good.tolist(), found, strict=True):
                texts[row] = one.model_dump_json()
        told = pl.Series(texts, dtype=pl.String)
        return pl.DataFrame({"explanation": told, REASONS: _reasons(rows, split)})

    def _answer(self, houses: pl.DataFrame) -> tuple[NDArray[np.float32], Prices]:
        """The features of good rows, their prices and the ends of the intervals."""
        x = self.transform.matrix(houses)
        price = self.model.predict(x)
        names = dict(zip(self.transform.location or (), ("latitude", "longitude"), strict=False))
        here = houses.select([*names]).rename(names)
        ends = self.interval.around(price, regions(here, self.transform.places))
        return x, (price, *ends)

    def _complete(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with a column of nulls for each nullable one that was left out."""
        return rows.with_columns(
            pl.lit(None, dtype).alias(name)
            for name, dtype in self.schema.dtypes.items()
            if name not in rows.columns and self.schema.columns[name].nullable
        )


def _reasons(rows: pl.DataFrame, split: Split) -> pl.Series:
    """Why a row has no price; null where it has one."""
    reasons = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    return reasons.scatter(split.bad[ROW] - 1, split.bad[REASONS])

"""Two results on the same rows: what neither model has seen, with the predictions of both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from housing.domain import gate
from housing.domain.columns import Role
from housing.domain.config_rules import plain_name
from housing.domain.split import row_ids
from housing.errors import RegistryError
from housing.mlops.registry.run_artifacts import Record

if TYPE_CHECKING:
    import polars as pl

IDENTITY = "data.identity"
"""The run's parameter that says which columns its row identities were made from."""


def common_rows(record: Record, rival: Record) -> pl.DataFrame:
    """The challenger's test rows that neither model has seen, with both predictions.

    Where the rival was evaluated on other rows, it is asked for its predictions now; rows that it
    refuses are left out. One whose code nothing proves is never run: it is compared on the rows
    that both were evaluated on. Where the rival names its rows by other columns, each test row gets
    the name that the rival would give it: what it has seen is known by that.

    Returns:
        `_row`, location, `actual`, `predicted` by the challenger and `champion` by the rival.

    Raises:
        DataError: The rows lack a column that the rival needs.
        ModelError: The rival cannot predict these rows.
        RegistryError: The rival is a model of another table, or nothing proves its code.
    """
    mine, theirs = identity_of(record), identity_of(rival)
    names = record.rows["_row"] if mine == theirs else _named_by(theirs, record.rows)
    fresh = ~names.is_in(rival.seen["_row"].implode())
    fresh &= ~record.rows["_row"].is_in(record.seen["_row"].implode())
    # The test rows lie in the order of the predictions.
    unseen, rows = record.predictions.filter(fresh), record.rows.filter(fresh)
    if mine == theirs:
        paired = gate.pair(unseen, rival.predictions)
        if paired.height == unseen.height or rival.digest is None:
            return paired
    if rival.digest is None:
        raise RegistryError(
            "it was logged before all files of a model were hashed, and other rows need its code",
            "another name for the model, registry.model in params.yaml",
        )
    _require(_needed(rival), rows)
    answers, _ = rival.ask(rows.drop("_row"))
    at = (answers["row"] - 1).to_list()
    return unseen[at].with_columns(answers["prediction"].alias("champion"))


def identity_of(record: Record) -> dict[str, str]:
    """The columns that a result's row identities were made from, and the type of each.

    Args:
        record: The result.
    """
    logged: Mapping[str, str] = record.run.data.params
    return {
        name: logged.get(plain_name(f"data.columns.{name}.type"), "")
        for name in json.loads(logged[IDENTITY])
    }


def _named_by(identity: Mapping[str, str], rows: pl.DataFrame) -> pl.Series:
    """The identities of rows, made from the columns of another result, as that one read them."""
    import polars as pl

    from housing.domain.data.schema import DTYPES  # it comes with dataframely, which is heavy

    _require(list(identity), rows)
    try:
        typed = rows.select(
            pl.col(name).cast(DTYPES[kind], strict=False) for name, kind in identity.items()
        )
    except pl.exceptions.PolarsError as error:
        kinds = ", ".join(f"{name} as {kind}" for name, kind in identity.items())
        raise RegistryError(
            f"it names its rows by {kinds}, which these rows cannot be read as: {error}",
            "another name for this table's model, registry.model in params.yaml",
        ) from error
    return row_ids(typed, tuple(identity))


def _needed(rival: Record) -> list[str]:
    """The columns that a model cannot do without."""
    logged: Mapping[str, str] = rival.run.data.params

    def said(name: str, key: str) -> str:
        return logged.get(plain_name(f"data.columns.{name}.{key}"), "")

    return [
        name
        for name in rival.rows.columns
        if name != "_row"
        and said(name, "nullable") != "true"
        and said(name, "role") not in {Role.ID, Role.IGNORE}
    ]


def _require(columns: list[str], rows: pl.DataFrame) -> None:
    missing = [name for name in columns if name not in rows.columns]
    if missing:
        raise RegistryError(*another_table(missing))


def another_table(columns: Iterable[str]) -> tuple[str, str]:
    """What to say, and to advise, of a model that was made from another table than this one.

    Args:
        columns: What the model needs and ``data.columns`` does not name.
    """
    return (
        f"it is of another table: it knows {', '.join(columns)}, which data.columns does not",
        "another name for this table's model, registry.model in params.yaml",
    )

"""Rules between the keys of ``params.yaml``, on its raw content.

Types and ranges of single values are the models' task in ``housing.domain.config``. These rules
look at what the file says, whatever is wrong elsewhere in it, so that all faults are told at once;
a value of a wrong type is passed over, it has been told already.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from housing.domain.column_rules import (
    INPUTS,
    NUMBERS,
    Fault,
    as_list,
    as_mapping,
    as_number,
    column_faults,
    columns_of,
    id_columns,
    role_of,
)

QUARANTINE_COLUMNS = ("file", "row", "reasons")
"""Columns that stand beside a bad row's values."""
MADE_COLUMNS = (
    *QUARANTINE_COLUMNS,
    *("actual", "predicted", "residual", "prediction", "lower", "upper", "model_version"),
)
"""Columns that the pipeline adds to a row: no column of a table can have these names."""

DATE_FEATURES = ("year", "month")
"""Features of a date, by the end of their names: ``sold_year``."""

_LONGEST_NAME = 250
_ALIAS = re.compile(r"[\w-]{1,255}")
_VERSION = re.compile(r"v\d+|latest", re.IGNORECASE)


def plain_name(name: str) -> str:
    """A name as MLflow takes it for a metric or a parameter: short, and without other signs."""
    return re.sub(r"[^\w\-. :]", "_", name)[:_LONGEST_NAME]


def conflicts(content: object) -> list[str]:
    """Everything that the keys of a params file make wrong together, a line for each fault.

    Args:
        content: What the YAML file holds.
    """
    rules: tuple[Callable[[Mapping[str, Any]], Iterable[Fault]], ...] = (
        column_faults,
        _identity,
        _csv,
        _split,
        _features,
        _neighbours,
        _names,
        _candidates,
        _registry,
    )
    return [f"{key}: {text}" for rule in rules for key, text in rule(as_mapping(content))]


def _identity(content: Mapping[str, Any]) -> Iterator[Fault]:
    table = columns_of(content)
    identity = as_list(as_mapping(content.get("data")).get("identity"))
    for name in identity:
        if table and name not in table:
            yield "data.identity", f"names no column: {name}"
        elif name in table and role_of(table[name]) == "target":
            yield "data.identity", f"the target, {name}, cannot be part of a row's identity"
    yield from (("data.identity", f"names {name!r} twice") for name in _twice(identity))
    for name in id_columns(as_mapping(content.get("data"))) if identity else []:
        if name not in identity:
            yield "data.identity", f"leaves out {name}, which has the role id"


def _csv(content: Mapping[str, Any]) -> Iterator[Fault]:
    csv = as_mapping(as_mapping(content.get("data")).get("csv"))
    separator, encoding = csv.get("separator", ","), csv.get("encoding", "utf-8")
    if isinstance(separator, str) and (
        len(separator) != 1 or not separator.isascii() or separator in '"\r\n'
    ):
        yield "data.csv.separator", f"must be one sign of ASCII and no quote, got {separator!r}"
    if isinstance(encoding, str):
        try:
            "".encode(codecs.lookup(encoding).name)
        except LookupError:
            yield "data.csv.encoding", f"Python knows no text encoding {encoding!r}"


def _split(content: Mapping[str, Any]) -> Iterator[Fault]:
    shares = as_mapping(content.get("split"))
    validation, test = as_number(shares.get("validation")), as_number(shares.get("test"))
    if validation is not None and test is not None and validation + test >= 1:
        yield (
            "split.test",
            f"{test:g} and split.validation, {validation:g}, leave no row for training",
        )
    table, by = columns_of(content), shares.get("by")
    if not isinstance(by, str) or not table:
        return
    column = table.get(by, {})
    if column.get("type") not in {*NUMBERS, "date"} or role_of(column) == "target":
        yield "split.by", f"names no column of dates or numbers: {by}"
    elif column.get("nullable") is True:
        yield "split.by", f"a row without {by} would have no side: it must not be nullable"


def _features(content: Mapping[str, Any]) -> Iterator[Fault]:
    table, features = columns_of(content), as_mapping(content.get("features"))
    if not table:
        return
    for key, types, wanted in (
        ("ratios", NUMBERS, "numeric input column"),
        ("ages", (*NUMBERS, "date"), "input column of dates or years"),
    ):
        for made, columns in as_mapping(features.get(key)).items():
            for name in as_list(columns):
                column = table.get(name, {})
                if column.get("type") not in types or role_of(column) not in INPUTS:
                    yield f"features.{key}.{made}", f"{name!r} is no {wanted}"
    if not {role_of(column) for column in table.values()} >= {"latitude", "longitude"}:
        for key in ("places", "rotations"):
            if features.get(key):
                yield f"features.{key}", "need a column with the role latitude and one longitude"


def _neighbours(content: Mapping[str, Any]) -> Iterator[Fault]:
    table, train = columns_of(content), as_mapping(content.get("train"))
    located = {role_of(column) for column in table.values()} >= {"latitude", "longitude"}
    for candidate in as_list(content.get("candidates")):
        settings = as_mapping(as_mapping(train.get(str(candidate))).get("neighbours"))
        key = f"train.{candidate}.neighbours"
        if not table or not settings:
            continue
        if not located:
            yield key, "need a column with the role latitude and one longitude"
        if not as_list(settings.get("near")) and not as_list(settings.get("alike")):
            yield key, "near and alike are both empty"
        if as_list(settings.get("around")) and not as_mapping(settings.get("attributes")):
            yield f"{key}.around", "the mean of which attributes? there are none"
        per = settings.get("per")
        for part, names in (
            ("attributes", [*as_mapping(settings.get("attributes"))]),
            ("per", [] if per is None else [per]),
        ):
            for name in names:
                column = table.get(str(name), {})
                if column.get("type") not in NUMBERS or role_of(column) not in INPUTS:
                    yield f"{key}.{part}", f"{name!r} is no numeric input column"


def _names(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Each name of a column or feature is taken once, also as MLflow can write it."""
    table, features = columns_of(content), as_mapping(content.get("features"))
    own = [(f"data.columns.{name}", name) for name in table]
    made = [
        (f"features.{key}.{name}", name)
        for key in ("ratios", "ages")
        for name in as_mapping(features.get(key))
    ]
    for key, name in [*own, *made]:
        if name.startswith("_") or name in MADE_COLUMNS:
            yield key, f"the name {name!r} is taken: the pipeline makes a column of this name"
    made += [(f"features.places.{n}", f"km_to_{n}") for n in as_mapping(features.get("places"))]
    for degrees in as_list(features.get("rotations")):
        if (number := as_number(degrees)) is not None:
            made += [("features.rotations", f"rotated_{number:g}_x")]
    made += [
        (f"data.columns.{name}", f"{name}_{part}")
        for name, column in table.items()
        for part in DATE_FEATURES
        if column.get("type") == "date" and role_of(column) == "feature"
    ]
    made += [
        (f"data.columns.{name}", f"{name}_price")
        for name, column in table.items()
        if column.get("type") == "string" and role_of(column) == "feature"
    ]
    made += [
        (f"data.columns.{name}.categories", f"{name}={level}")
        for name, column in table.items()
        for level in as_list(column.get("categories"))
    ]
    taken: dict[str, str] = {}
    for key, name in [*own, *made]:
        if name in taken:
            yield key, f"the name {name!r} is taken twice, also by {taken[name]}"
        taken.setdefault(name, key)
    for key, names in (
        ("data.columns", table),
        ("features.ratios", as_mapping(features.get("ratios"))),
        ("features.ages", as_mapping(features.get("ages"))),
        ("features.places", as_mapping(features.get("places"))),
        ("train", as_mapping(content.get("train"))),
    ):
        plain = Counter(map(plain_name, names))
        alike = [name for name in names if plain[plain_name(name)] > 1]
        if alike:
            yield key, f"names that differ in signs only: {', '.join(alike)}"


def _candidates(content: Mapping[str, Any]) -> Iterator[Fault]:
    names, train = as_list(content.get("candidates")), as_mapping(content.get("train"))
    yield from (
        ("candidates", f"names {name!r}, which train does not define")
        for name in names
        if "train" in content and name not in train
    )
    yield from (("candidates", f"names {name!r} twice") for name in _twice(names))


def _registry(content: Mapping[str, Any]) -> Iterator[Fault]:
    registry = as_mapping(content.get("registry"))
    model = registry.get("model")
    if isinstance(model, str) and model and (re.search(r"[/:]", model) or not model.strip(" .")):
        yield "registry.model", f"MLflow takes no name with / or :, got {model!r}"
    aliases = [(key, registry.get(key)) for key in ("staging", "champion")]
    for key, alias in aliases:
        if isinstance(alias, str) and alias and not _ALIAS.fullmatch(alias):
            yield f"registry.{key}", f"an alias has letters, digits, _ and - only, got {alias!r}"
        elif isinstance(alias, str) and _VERSION.fullmatch(alias):
            yield f"registry.{key}", f"MLflow keeps {alias!r} for itself"
    if aliases[0][1] and aliases[0][1] == aliases[1][1]:
        yield "registry.staging", f"{aliases[0][1]!r} is the alias of registry.champion too"


def _twice(names: Iterable[Any]) -> list[str]:
    return [name for name, times in Counter(map(str, names)).items() if times > 1]

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
from typing import Any, TypeAlias

QUARANTINE_COLUMNS = ("file", "row", "reasons")
"""Columns that stand beside a bad row's values."""
MADE_COLUMNS = (
    *QUARANTINE_COLUMNS,
    *("actual", "predicted", "residual", "prediction", "lower", "upper", "model_version"),
)
"""Columns that the pipeline adds to a row: no column of a table can have these names."""

Fault: TypeAlias = tuple[str, str]
"""A key, with its parents, and what is wrong with it."""

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
        _columns,
        _target,
        _roles,
        _identity,
        _csv,
        _split,
        _features,
        _names,
        _candidates,
        _registry,
    )
    return [f"{key}: {text}" for rule in rules for key, text in rule(_mapping(content))]


def _columns(content: Mapping[str, Any]) -> Iterator[Fault]:
    for name, column in _table(content).items():
        key = f"data.columns.{name}"
        role, low, high = _role(column), _number(column.get("min")), _number(column.get("max"))
        if column.get("type") == "string":
            for bound in ("min", "max"):
                if column.get(bound) is not None:
                    yield f"{key}.{bound}", "is for numbers; strings have categories"
            if role != "feature":
                yield f"{key}.role", f"{role} needs a number, and the type is string"
        elif column.get("categories") is not None:
            yield f"{key}.categories", "are for strings; numbers have min and max"
        if low is not None and high is not None and low > high:
            yield f"{key}.min", f"{low:g} is above max, {high:g}"


def _target(content: Mapping[str, Any]) -> Iterator[Fault]:
    for name, column in _table(content).items():
        key, low = f"data.columns.{name}", _number(column.get("min"))
        if _role(column) == "target":
            if column.get("nullable") is True:
                yield f"{key}.nullable", "the target cannot be missing"
            if low is not None and low <= 0:
                yield f"{key}.min", f"{low:g} lets prices of 0 by, and mape divides by the price"
        elif _number(column.get("scale", 1)) not in {1, None}:
            yield f"{key}.scale", "is for the target only"


def _roles(content: Mapping[str, Any]) -> Iterator[Fault]:
    table = _table(content)
    if not table:
        return
    of_role = {
        role: [name for name, column in table.items() if _role(column) == role]
        for role in ("target", "latitude", "longitude")
    }
    targets = of_role["target"]
    if len(targets) != 1:
        named = f" ({', '.join(targets)})" if targets else ""
        yield "data.columns", f"exactly one column has the role target, not {len(targets)}{named}"
    if (len(of_role["latitude"]), len(of_role["longitude"])) not in {(0, 0), (1, 1)}:
        yield (
            "data.columns",
            "latitude and longitude come as a pair, one column each, or not at all",
        )


def _identity(content: Mapping[str, Any]) -> Iterator[Fault]:
    table = _table(content)
    identity = _list(_mapping(content.get("data")).get("identity"))
    for name in identity:
        if table and name not in table:
            yield "data.identity", f"names no column: {name}"
        elif name in table and _role(table[name]) == "target":
            yield "data.identity", f"the target, {name}, cannot be part of a row's identity"
    yield from (("data.identity", f"names {name!r} twice") for name in _twice(identity))


def _csv(content: Mapping[str, Any]) -> Iterator[Fault]:
    csv = _mapping(_mapping(content.get("data")).get("csv"))
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
    shares = _mapping(content.get("split"))
    validation, test = _number(shares.get("validation")), _number(shares.get("test"))
    if validation is not None and test is not None and validation + test >= 1:
        yield (
            "split.test",
            f"{test:g} and split.validation, {validation:g}, leave no row for training",
        )


def _features(content: Mapping[str, Any]) -> Iterator[Fault]:
    table, features = _table(content), _mapping(content.get("features"))
    if not table:
        return
    for ratio, columns in _mapping(features.get("ratios")).items():
        for name in _list(columns):
            column = table.get(name, {})
            if column.get("type") == "string" or _role(column) == "target" or name not in table:
                yield f"features.ratios.{ratio}", f"{name!r} is no numeric input column"
    if not {_role(column) for column in table.values()} >= {"latitude", "longitude"}:
        for key in ("places", "rotations"):
            if features.get(key):
                yield f"features.{key}", "need a column with the role latitude and one longitude"


def _names(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Each name of a column or feature is taken once, also as MLflow can write it."""
    table, features = _table(content), _mapping(content.get("features"))
    own = [(f"data.columns.{name}", name) for name in table]
    made = [(f"features.ratios.{name}", name) for name in _mapping(features.get("ratios"))]
    for key, name in [*own, *made]:
        if name.startswith("_") or name in MADE_COLUMNS:
            yield key, f"the name {name!r} is taken: the pipeline makes a column of this name"
    made += [(f"features.places.{n}", f"km_to_{n}") for n in _mapping(features.get("places"))]
    for degrees in _list(features.get("rotations")):
        if (number := _number(degrees)) is not None:
            made += [("features.rotations", f"rotated_{number:g}_x")]
    made += [
        (f"data.columns.{name}.categories", f"{name}={level}")
        for name, column in table.items()
        for level in _list(column.get("categories"))
    ]
    taken: dict[str, str] = {}
    for key, name in [*own, *made]:
        if name in taken:
            yield key, f"the name {name!r} is taken twice, also by {taken[name]}"
        taken.setdefault(name, key)
    for key, names in (
        ("data.columns", table),
        ("features.ratios", _mapping(features.get("ratios"))),
        ("features.places", _mapping(features.get("places"))),
        ("train", _mapping(content.get("train"))),
    ):
        plain = Counter(map(plain_name, names))
        alike = [name for name in names if plain[plain_name(name)] > 1]
        if alike:
            yield key, f"names that differ in signs only: {', '.join(alike)}"


def _candidates(content: Mapping[str, Any]) -> Iterator[Fault]:
    names, train = _list(content.get("candidates")), _mapping(content.get("train"))
    yield from (
        ("candidates", f"names {name!r}, which train does not define")
        for name in names
        if "train" in content and name not in train
    )
    yield from (("candidates", f"names {name!r} twice") for name in _twice(names))


def _registry(content: Mapping[str, Any]) -> Iterator[Fault]:
    registry = _mapping(content.get("registry"))
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


def _table(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    columns = _mapping(_mapping(content.get("data")).get("columns"))
    return {name: _mapping(column) for name, column in columns.items()}


def _role(column: Mapping[str, Any]) -> str:
    return str(column.get("role", "feature"))


def _mapping(value: object) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return [*value] if isinstance(value, list | tuple) else []


def _number(value: object) -> float | None:
    """The number that the models make of a value, or None where they make none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _twice(names: Iterable[Any]) -> list[str]:
    return [name for name, times in Counter(map(str, names)).items() if times > 1]

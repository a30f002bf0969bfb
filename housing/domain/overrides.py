"""Parameters that a person replaces for one run: which may be, and what they may hold. Pure.

Whoever may start a run may not move the limits by which it is judged, or the names that it moves.
Other parameters shape the evidence itself: another seed or split chooses other test rows, other
ranges send the hard rows to quarantine, another coverage softens the claim that is checked. A run
may try these, but what it made is not promoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from housing.domain.config import parse_params
from housing.errors import ConfigError

FIXED = ("gate", "registry")
"""Parameters that no run replaces."""
EVIDENCE = ("seed", "data", "ingest", "split", "features.places", "evaluate")
"""Parameters by which the gate's evidence is made: a run that replaces one is not promoted."""
LONGEST = 4000
"""Characters that all overrides of a run may have together; MLflow keeps them in a tag of 8,000."""
DEEPEST = 5
"""Lists and maps that a value may have inside one another."""


def override(text: str, pairs: Sequence[str]) -> str:
    """Replaces values in the text of a ``params.yaml``.

    Args:
        text: The content of the file.
        pairs: Paths with their new value in YAML, ``train.xgboost.max_depth=8``.

    Returns:
        The new content; comments are not kept.

    Raises:
        ConfigError: An override names no parameter, or one that no run replaces, or its value
            does not fit.
    """
    length = sum(map(len, pairs))
    if length > LONGEST:
        raise ConfigError(
            f"the overrides have {length:,} characters, {LONGEST:,} are allowed",
            "edit params.yaml",
        )
    content: Any = yaml.safe_load(text)
    faults = [fault for pair in pairs if (fault := _replace(content, pair))]
    if faults:
        raise ConfigError.of_faults("the overrides", faults)
    parse_params(content, "params.yaml with the overrides")
    return yaml.safe_dump(content, sort_keys=False)


def shaping_evidence(pairs: Iterable[str]) -> tuple[str, ...]:
    """The paths among the overrides that change how the gate's evidence is made."""
    return tuple(path for path in map(_path, pairs) if _is_part(path, EVIDENCE))


def never_promoted(pairs: Iterable[str]) -> str:
    """Why the gate promotes no result with these overrides, or "" where it may."""
    shaping = shaping_evidence(pairs)
    if not shaping:
        return ""
    return f"overrides of {', '.join(shaping)} shape the evidence that the gate judges by"


def _replace(content: object, pair: str) -> str | None:
    """Replaces one value in place, or says what is wrong with the override."""
    path = _path(pair)
    *parents, key = path.split(".")
    place: Any = content
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict) or key not in place:
        return f"{path}: params.yaml has no such key"
    if _is_part(path, FIXED):
        return f"{path}: no run replaces {' or '.join(FIXED)}; a commit of params.yaml does"
    try:
        place[key] = _value(pair.partition("=")[2])
    except (yaml.YAMLError, ValueError) as error:
        return f"{path}: {' '.join(str(error).split())}"
    return None


def _value(text: str) -> object:
    """Reads a plain value: scalars, lists and maps, without YAML's ways to repeat a part."""
    depth = 0
    if len(text.splitlines()) > 1:  # the tag in MLflow has one override a line
        raise ValueError("a value is one line")
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError("a value may not hold anchors (&) and aliases (*)")
        if getattr(event, "tag", None):
            raise ValueError("a value may not hold tags (!)")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"a value may not be deeper than {DEEPEST} lists and maps")
    return yaml.safe_load(text)


def _path(pair: str) -> str:
    return pair.partition("=")[0].strip()


def _is_part(path: str, keys: Iterable[str]) -> bool:
    """Whether a path is one of the keys, lies below one, or holds one."""
    return any(f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}.") for key in keys)

"""``params.yaml`` as frozen, typed data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from housing.domain.columns import DataParams, Section
from housing.domain.config_rules import conflicts
from housing.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, lt=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Coordinates = tuple[
    Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-180, le=180)]
]
_CANDIDATE = re.compile(r"\w[\w.-]*")

# Every task process reads params.yaml: libyaml takes 1 ms for it, Python 10 ms.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _candidate_name(name: str) -> str:
    """Takes what is fit for a file, a word of a command, and a name in MLflow."""
    if not _CANDIDATE.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a candidate: use letters, digits, _, - and .")
    return name


CandidateName = Annotated[str, AfterValidator(_candidate_name)]


class IngestParams(Section):
    """When a delivery is too bad to use."""

    max_bad_fraction: Fraction


class SplitParams(Section):
    """Which rows are held out.

    Attributes:
        validation: Share of the rows that choose and calibrate.
        test: Share of the rows that judge.
        by: Column by which the newest rows are held out; a seeded hash holds out any by default.
    """

    validation: OpenFraction
    test: OpenFraction
    by: str | None = None


class FeatureParams(Section):
    """Features that are made from the columns."""

    ratios: dict[str, tuple[str, str]] = Field(default_factory=dict)
    ages: dict[str, tuple[str, str]] = Field(default_factory=dict)
    places: dict[str, Coordinates] = Field(default_factory=dict)
    rotations: tuple[float, ...] = ()
    max_categories: int = Field(default=30, ge=1)


class NeighbourParams(Section):
    """Statistics of the prices of the nearest training rows, as further features of a candidate.

    Attributes:
        near: How many of the nearest training rows on the map each statistic is made of.
        alike: The same for the nearest on the map and in attributes together.
        around: Of how many of the nearest on the map the mean of each attribute is made.
        attributes: Weight of one standard deviation of each attribute's ranks.
        km: Distance on the map that counts as much as a weight of 1.
        per: Column by which prices are divided: their ratio is a further statistic.
    """

    near: tuple[Annotated[int, Field(ge=1)], ...]
    alike: tuple[Annotated[int, Field(ge=1)], ...] = ()
    around: tuple[Annotated[int, Field(ge=1)], ...] = ()
    attributes: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    km: float = Field(default=15, gt=0)
    per: str | None = None


class CandidateParams(Section):
    """Settings of one candidate, under XGBoost's own names but for two.

    Attributes:
        waves: Of a smooth first guess, see `housing.domain.smooth`; 0: the booster gives all.
        neighbours: Further features.
    """

    booster: Literal["gbtree", "gblinear"]
    n_estimators: int = Field(ge=1)
    learning_rate: float = Field(gt=0, le=1)
    early_stopping_rounds: int = Field(ge=1)
    max_depth: int = Field(default=6, ge=1)
    min_child_weight: float = Field(default=1, ge=0)
    subsample: float = Field(default=1, gt=0, le=1)
    colsample_bytree: float = Field(default=1, gt=0, le=1)
    reg_lambda: float = Field(default=1, ge=0)
    reg_alpha: float = Field(default=0, ge=0)
    waves: int = Field(default=0, ge=0)
    neighbours: NeighbourParams | None = None


class EvaluateParams(Section):
    """How sure the report wants to be."""

    confidence: OpenFraction
    resamples: int = Field(ge=100)
    coverage: OpenFraction


class GateParams(Section):
    """Limits that a model must keep to be promoted."""

    min_r2: float = Field(le=1)
    max_rmse: float = Field(gt=0, description="dollars")
    max_regression: float = Field(ge=0, description="dollars of RMSE")
    max_slice_regression: float = Field(default=5000, ge=0, description="dollars of RMSE")
    max_coverage_gap: Fraction = 0.02
    max_slice_coverage_gap: Fraction = 0.05
    max_golden_difference: float = Field(default=1, ge=0, description="dollars")
    golden_rows: int = Field(default=50, ge=1)
    confidence: OpenFraction = 0.95
    resamples: int = Field(default=2000, ge=100)
    min_rows: int = Field(default=100, ge=1)
    min_slice_rows: int = Field(default=100, ge=1)


class RegistryParams(Section):
    """Names in MLflow's model registry."""

    model: str = Field(min_length=1)
    staging: str = Field(min_length=1)
    champion: str = Field(min_length=1)
    auto_champion: bool = False


class Registered(Section):
    """The part of ``params.yaml`` that rollback and champion need: no more than names."""

    registry: RegistryParams


class ScoringParams(Registered):
    """The part of ``params.yaml`` that batch scoring needs."""

    data: DataParams


Part = TypeVar("Part", bound=Registered)


class Params(ScoringParams):
    """All of ``params.yaml``."""

    # Built where it is imported: tasks fork from a process that has imported it.
    model_config = ConfigDict(defer_build=False)

    seed: int = Field(ge=0, lt=2**31)
    ingest: IngestParams
    split: SplitParams
    features: FeatureParams
    candidates: tuple[str, ...] = Field(min_length=1)
    train: dict[CandidateName, CandidateParams]
    evaluate: EvaluateParams
    gate: GateParams


def parse_params(content: object, source: str = "params.yaml") -> Params:
    """Turns the content of a params file into typed data.

    Args:
        content: What the YAML file holds.
        source: The file's name, for messages.

    Raises:
        ConfigError: The content has faults; all of them are reported.
    """
    return _parse(content, source, [])


def load_params(path: Path) -> Params:
    """Reads ``params.yaml``.

    Args:
        path: The file.

    Raises:
        ConfigError: The file is missing, is no YAML, or has faults; all of them are reported.
    """
    content, repeated = _parsed(path, _text(path))
    return _parse(content, str(path), repeated)


def load_registered(path: Path) -> Registered:
    """Reads the names in MLflow's registry, whatever else is wrong with ``params.yaml``.

    Where the file as a whole is no YAML, in the middle of a merge for example, its block
    ``registry:`` is read alone.

    Args:
        path: The file.

    Raises:
        ConfigError: The file is missing, or its registry section is, or has faults.
    """
    return _load_part(path, Registered)


def load_scoring(path: Path) -> ScoringParams:
    """Reads what batch scoring needs in the same way: the sections ``registry`` and ``data``."""
    return _load_part(path, ScoringParams)


def _load_part(path: Path, part: type[Part]) -> Part:
    text = _text(path)
    names = part.model_fields
    try:
        content, _ = _parsed(path, text)
    except ConfigError:
        blocks = [block for name in names if (block := _block(name, text))]
        if len(blocks) < len(names):
            raise
        content, _ = _parsed(path, "\n".join(blocks))
    content = content if isinstance(content, dict) else {}
    try:
        return part.model_validate({name: content[name] for name in names if name in content})
    except ValidationError as error:
        raise ConfigError.of_faults(str(path), _faults(error)) from None


def _block(name: str, text: str) -> str | None:
    """The lines of one section, up to the next key, before which git may have put its mark.

    A mark of a conflict inside the section stays inside, and makes it no YAML.
    """
    until = r"(?=^(?:<{7}[^\n]*\n)?[\w\"'][^\n]*:|\Z)"
    found = re.search(rf"^{name}:.*?{until}", text, re.MULTILINE | re.DOTALL)
    return found[0] if found else None


def load_what_holds(path: Path) -> Params | Registered:
    """Reads all of ``params.yaml``, or only the names in the registry where the rest has faults.

    Args:
        path: The file.

    Raises:
        ConfigError: Even the names cannot be read.
    """
    try:
        return load_params(path)
    except ConfigError:
        return load_registered(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", "git checkout -- params.yaml") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path} is not UTF-8 text: line {line} has the byte {error.object[error.start]:#04x}",
            f"save {path} as UTF-8",
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}", f"ls -l {path}") from error


def _parsed(path: Path, text: str) -> tuple[Any, list[str]]:
    try:
        return _read(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {error}", f"edit {path}") from error


def _parse(content: object, source: str, faults: list[str]) -> Params:
    broken, params = [], None
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        broken = _faults(error)
    faults = [*faults, *broken, *conflicts(content)]
    if params is None or faults:
        # Airflow shows an error with all its causes: the validator's own words come in no order.
        raise ConfigError.of_faults(source, faults) from None
    return params


def _read(text: str) -> tuple[object, list[str]]:
    """The content of a YAML text, and a fault for each key that a mapping has twice."""
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
        return content, list(_repeated(node, ""))
    finally:
        loader.dispose()


def _repeated(node: yaml.Node | None, parent: str) -> Iterator[str]:
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            name = f"{parent}{key.value}"
            if key.value in seen:
                yield f"{name}: is there twice, again on line {key.start_mark.line + 1}"
            seen.add(key.value)
            yield from _repeated(value, f"{name}.")


def _faults(error: ValidationError) -> list[str]:
    faults = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "(top level)"
        if fault["type"] in {"missing", "extra_forbidden"}:
            faults.append(f"{key}: {fault['msg']}")
        else:
            faults.append(f"{key}: {fault['msg']}, got {fault['input']!r}")
    return faults

"""``params.yaml`` as frozen, typed data."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from housing.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, lt=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Coordinates = tuple[
    Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-180, le=180)]
]
QUARANTINE_COLUMNS = ("file", "row", "reasons")
"""Columns that stand beside a bad row's values: no column of a table can have these names."""


_LONGEST_NAME = 250
_CANDIDATE = re.compile(r"\w[\w.-]*")

# Every task process reads params.yaml: libyaml takes 1 ms for it, Python 10 ms.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Up to the next key, which git's mark of a conflict may stand before; one inside stays inside.
_REGISTRY = re.compile(
    r"^registry:.*?(?=^(?:<{7}[^\n]*\n)?[\w\"'][^\n]*:|\Z)", re.MULTILINE | re.DOTALL
)


def plain_name(name: str) -> str:
    """A name as MLflow takes it for a metric or a parameter: short, and without other signs."""
    return re.sub(r"[^\w\-. :]", "_", name)[:_LONGEST_NAME]


def _candidate_name(name: str) -> str:
    """Takes what is fit for a file, a word of a command, and a name in MLflow."""
    if not _CANDIDATE.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a candidate: use letters, digits, _, - and .")
    return name


CandidateName = Annotated[str, AfterValidator(_candidate_name)]


class Frozen(BaseModel):
    """Base of every part of the configuration: immutable, no unknown keys."""

    # Deferred, the parts are built once, inside the whole: less for a DAG file to wait for.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Role(StrEnum):
    """What a column is to the model."""

    FEATURE = "feature"
    LATITUDE = "latitude"
    LONGITUDE = "longitude"
    TARGET = "target"


class Column(Frozen):
    """One column of a delivery."""

    type: Literal["float", "int", "string"]
    role: Role = Role.FEATURE
    min: float | None = None
    max: float | None = None
    nullable: bool = False
    categories: tuple[str, ...] | None = None
    scale: float = Field(default=1.0, gt=0, description="dollars per unit, for the target")
    description: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.type == "string":
            if self.min is not None or self.max is not None:
                raise ValueError("min and max are for numbers, categories for strings")
            if self.role is not Role.FEATURE:
                raise ValueError(f"the role {self.role.value} needs a number")
        elif self.categories is not None:
            raise ValueError("categories are for strings, min and max for numbers")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.role is Role.TARGET and self.nullable:
            raise ValueError("the target cannot be nullable")
        if self.role is not Role.TARGET and self.scale != 1.0:
            raise ValueError("scale is for the target only")
        return self


class CsvParams(Frozen):
    """How CSV files are written; the defaults are what most programs write.

    Attributes:
        separator: The sign between two values.
        decimal_comma: Numbers are written ``1,5``; a number with a point is a fault of its row.
        encoding: A name that Python knows, such as ``utf-16`` or ``cp1252``.
        nulls: What stands for a missing value, besides nothing at all.
    """

    separator: str = ","
    decimal_comma: bool = False
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ()


class DataParams(Frozen):
    """Where deliveries arrive and what their columns are."""

    landing: Path
    csv: CsvParams = Field(default_factory=CsvParams)
    columns: dict[str, Column]
    identity: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        roles = [column.role for column in self.columns.values()]
        if roles.count(Role.TARGET) != 1:
            raise ValueError(
                f"exactly one column has the role target, not {roles.count(Role.TARGET)}"
            )
        located = roles.count(Role.LATITUDE), roles.count(Role.LONGITUDE)
        if located not in {(0, 0), (1, 1)}:
            raise ValueError(
                "latitude and longitude come as a pair, one column each, or not at all"
            )
        unknown = [name for name in self.identity if name not in self.columns]
        if unknown:
            raise ValueError(f"identity names no column: {', '.join(unknown)}")
        taken = [
            name for name in self.columns if name.startswith("_") or name in QUARANTINE_COLUMNS
        ]
        if taken:
            raise ValueError(f"names that the pipeline's own columns have: {', '.join(taken)}")
        plain = {name: plain_name(name) for name in self.columns}
        alike = [name for name in plain if [*plain.values()].count(plain[name]) > 1]
        if alike:
            raise ValueError(f"names that differ in signs only: {', '.join(alike)}")
        if self.target in self.identity:
            raise ValueError("the target cannot be part of a row's identity")
        return self

    @property
    def target(self) -> str:
        """Name of the target column."""
        return next(name for name, column in self.columns.items() if column.role is Role.TARGET)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all columns but the target, in the order of the file."""
        return tuple(name for name, col in self.columns.items() if col.role is not Role.TARGET)

    @property
    def location(self) -> tuple[str, str] | None:
        """Names of the latitude and longitude columns, or None where the table has none."""
        names = {column.role: name for name, column in self.columns.items()}
        if Role.LATITUDE not in names:
            return None
        return names[Role.LATITUDE], names[Role.LONGITUDE]


class IngestParams(Frozen):
    """When a delivery is too bad to use."""

    max_bad_fraction: Fraction


class SplitParams(Frozen):
    """Shares of rows that are held out."""

    validation: OpenFraction
    test: OpenFraction

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave no row for training")
        return self


class FeatureParams(Frozen):
    """Features that are made from the columns."""

    ratios: dict[str, tuple[str, str]] = Field(default_factory=dict)
    places: dict[str, Coordinates] = Field(default_factory=dict)
    rotations: tuple[float, ...] = ()
    max_categories: int = Field(default=30, ge=1)


class CandidateParams(Frozen):
    """Settings of one candidate, under XGBoost's own names."""

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


class EvaluateParams(Frozen):
    """How sure the report wants to be."""

    confidence: OpenFraction
    resamples: int = Field(ge=100)
    coverage: OpenFraction


class GateParams(Frozen):
    """Limits that a model must keep to be promoted."""

    min_r2: float = Field(le=1)
    max_rmse: float = Field(gt=0, description="dollars")
    max_regression: float = Field(ge=0, description="dollars of RMSE")
    max_slice_regression: float = Field(default=5000, ge=0, description="dollars of RMSE")
    max_coverage_gap: Fraction = 0.02
    max_golden_difference: float = Field(default=1, ge=0, description="dollars")
    golden_rows: int = Field(default=50, ge=1)
    confidence: OpenFraction = 0.95
    resamples: int = Field(default=2000, ge=100)
    min_rows: int = Field(default=100, ge=1)
    min_slice_rows: int = Field(default=100, ge=1)


class RegistryParams(Frozen):
    """Names in MLflow's model registry."""

    model: str = Field(min_length=1)
    staging: str = Field(min_length=1)
    champion: str = Field(min_length=1)
    auto_champion: bool = False


class Registered(Frozen):
    """The part of ``params.yaml`` that rollback, champion and scoring need: no more than names."""

    registry: RegistryParams


class Params(Registered):
    """All of ``params.yaml``."""

    seed: int = Field(ge=0)
    data: DataParams
    ingest: IngestParams
    split: SplitParams
    features: FeatureParams
    candidates: tuple[str, ...] = Field(min_length=1)
    train: dict[CandidateName, CandidateParams]
    evaluate: EvaluateParams
    gate: GateParams

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = [
            f"candidates names {name!r}, which train does not define"
            for name in self.candidates
            if name not in self.train
        ]
        numbers = {name for name in self.data.inputs if self.data.columns[name].type != "string"}
        faults += [
            f"features.ratios.{ratio} names {column!r}, which is no numeric input column"
            for ratio, columns in self.features.ratios.items()
            for column in columns
            if column not in numbers
        ]
        if self.data.location is None and (self.features.places or self.features.rotations):
            faults.append("features.places and features.rotations need a latitude and a longitude")
        if faults:
            raise ValueError("; ".join(faults))
        return self


def parse_params(content: object, source: str = "params.yaml") -> Params:
    """Turns the content of a params file into typed data.

    Args:
        content: What the YAML file holds.
        source: The file's name, for messages.

    Raises:
        ConfigError: The content has faults; all of them are reported.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        # Its own text says the same in more words, and the UI shows the first cause on top.
        raise ConfigError.of_faults(source, _faults(error)) from None


def load_params(path: Path) -> Params:
    """Reads ``params.yaml``.

    Args:
        path: The file.

    Raises:
        ConfigError: The file is missing, is no YAML, or has faults; all of them are reported.
    """
    return parse_params(_parsed(path, _text(path)), str(path))


def load_registered(path: Path) -> Registered:
    """Reads the names in MLflow's registry, whatever else is wrong with ``params.yaml``.

    Where the file as a whole is no YAML, in the middle of a merge for example, its block
    ``registry:`` is read alone.

    Args:
        path: The file.

    Raises:
        ConfigError: The file is missing, or its registry section is, or has faults.
    """
    text = _text(path)
    try:
        content = _parsed(path, text)
    except ConfigError:
        block = _REGISTRY.search(text)
        if not block:
            raise
        content = _parsed(path, block[0])
    section = {"registry": content["registry"]} if _has_registry(content) else {}
    try:
        return Registered.model_validate(section)
    except ValidationError as error:
        raise ConfigError.of_faults(str(path), _faults(error)) from None


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


def _has_registry(content: object) -> bool:
    return isinstance(content, dict) and "registry" in content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", "git checkout -- params.yaml") from error


def _parsed(path: Path, text: str) -> Any:  # noqa: ANN401  # whatever the YAML holds
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506  # both are safe
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}", f"edit {path}") from error


def _faults(error: ValidationError) -> list[str]:
    faults = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "(top level)"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] in {"missing", "value_error", "extra_forbidden"}:
            faults.append(f"{key}: {message}")
        else:
            faults.append(f"{key}: {message}, got {fault['input']!r}")
    return faults

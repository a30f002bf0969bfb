"""Every error that the house-price pipeline raises, in one tree.

HousingError
├── ConfigError              params.yaml, or the environment, is wrong
├── DataError                a delivery, or a table made from it, is wrong: no retry helps
│   ├── FileChangedError     a file changed while it was read: a retry helps
│   └── MissingColumnsError  a file lacks columns
├── StorageError             object storage does not answer, or lets nobody in: a retry may help
├── ModelError               a candidate cannot be trained, loaded or used: no retry helps
├── ModelStoppedError        a logged model was killed, or too slow: a retry helps
├── TrackingError            MLflow's side
│   ├── TrackingUnavailableError  MLflow did not answer: a retry helps
│   ├── LoginRefusedError    MLflow wants another login, or one with more rights
│   ├── RunNotFoundError     MLflow does not know the run of this result
│   ├── EvidenceError        dvc.lock, the workspace and MLflow do not agree: no retry helps
│   └── RegistryError        the registry cannot do what was asked
│       └── AliasMovedError  somebody else moved the alias just now: a retry helps
└── NotificationError        a message reached nobody over this channel

The errors of the engine are in `housing.engine.errors`; both trees have one base,
`housing.engine.errors.ExplainedError`. A message gives the fact, the offending value, and what to
do next.
"""

from __future__ import annotations

from housing.engine.errors import ExplainedError


class HousingError(ExplainedError):
    """Base of every error of the house-price pipeline."""


class ConfigError(HousingError):
    """``params.yaml``, or the environment, is wrong: no retry helps."""

    permanent = True


class DataError(HousingError):
    """A delivery, or a table made from it, is wrong: no retry helps."""

    permanent = True


class StorageError(HousingError):
    """Object storage does not answer, or lets nobody in: a retry may help."""


class FileChangedError(DataError):
    """A file changed while it was read, for example because it is still being copied."""

    permanent = False


class MissingColumnsError(DataError):
    """A file lacks columns of the table, or of the model that shall price it."""


class ModelError(HousingError):
    """A candidate cannot be trained, loaded or used: no retry helps."""

    permanent = True


class ModelStoppedError(HousingError):
    """The process of a logged model was killed, or gave no answer in time: a retry helps."""


class TrackingError(HousingError):
    """Base of the errors on MLflow's side."""


class TrackingUnavailableError(TrackingError):
    """MLflow did not answer: a retry helps."""


class LoginRefusedError(TrackingError):
    """MLflow wants another login, or one with more rights."""


class RunNotFoundError(TrackingError):
    """MLflow does not know the run of this result.

    Args:
        fact: Which run, and what became of it.
        hint: What to do next.
        gone: Whether it is gone for ever, so that it can not be restored.
    """

    def __init__(self, fact: str, hint: str = "", *, gone: bool = False) -> None:
        super().__init__(fact, hint)
        self.gone = gone


class EvidenceError(TrackingError):
    """``dvc.lock``, the workspace and MLflow do not agree: no retry helps."""

    permanent = True


class RegistryError(TrackingError):
    """The registry cannot do what was asked."""


class AliasMovedError(RegistryError):
    """Somebody else moved the alias just now: a retry helps.

    Args:
        alias: The alias.
        expected: The version that it held before, or None for none.
        found: The version that it holds now.
    """

    def __init__(self, alias: str, expected: str | None, found: str | None) -> None:
        super().__init__(
            f"{alias} moved from {_version(expected)} to {_version(found)} during a promotion",
            "the same call again",
        )


class NotificationError(HousingError):
    """A message reached nobody over this channel."""


def _version(number: str | None) -> str:
    return f"version {number}" if number else "no version"

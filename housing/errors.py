"""Every error that this package raises, in one tree.

HousingError
├── ConfigError              params.yaml, or the environment, is wrong
├── DataError                a delivery, or a table made from it, is wrong: no retry helps
│   └── FileChangedError     a file changed while it was read: a retry helps
├── ModelError               a candidate cannot be trained, loaded or used
├── PipelineError            DVC's side
│   ├── GraphError           dvc.yaml, or a file it is made from, is wrong: no retry helps
│   ├── StageFailedError     a stage's command ended with an error
│   ├── InputsChangedError   deps or params changed while the command ran: a retry helps
│   ├── DiskFullError        a disk was full while DVC worked: a retry helps once there is space
│   ├── StageBusyError       somebody else holds DVC's lock, or the stage: a retry helps
│   └── RemoteError          DVC's remote storage did not answer: a retry helps
├── TrackingError            MLflow's side
│   ├── TrackingUnavailableError  MLflow did not answer: a retry helps
│   ├── RunNotFoundError     MLflow does not know the run of this result
│   ├── EvidenceError        dvc.lock, the workspace and MLflow do not agree
│   └── RegistryError        the registry cannot do what was asked
│       └── AliasMovedError  somebody else moved the alias just now: a retry helps
└── NotificationError        a message reached nobody over this channel

A message gives the fact, the offending value, and what to do next.
"""

from __future__ import annotations

import re
from typing import Self

_LOGIN = re.compile(r"(?<=://)[^\s/]*@")
_SECRET = re.compile(r"(?i)([?&;][\w.-]*(?:password|passwd|token|secret|signature)=)[^&;\s]*")


def fit_to_show(text: str) -> str:
    """A text in which no address carries a login.

    Every error, link and message goes through here: logs, XComs, run summaries, MLflow and chats
    are read by more people than may know a password.

    Args:
        text: An address, or any text with addresses in it.

    Returns:
        The text without ``user:password@`` after a ``://``, and with ``***`` for the value of a
        password, token, secret or signature in a query.
    """
    return _SECRET.sub(r"\1***", _LOGIN.sub("", text))


class HousingError(Exception):
    """Base of every error of this package: catch it to catch them all.

    Addresses in its texts lose their logins, see `fit_to_show`.

    Args:
        fact: What is wrong, with the offending value.
        hint: What to do next: a command to type, or what to change.
    """

    def __init__(self, fact: str, hint: str = "") -> None:
        self.fact = fit_to_show(fact)
        self.hint = fit_to_show(hint)
        super().__init__(self.fact, self.hint)

    def __str__(self) -> str:
        return f"{self.fact}\n  next: {self.hint}" if self.hint else self.fact


class ConfigError(HousingError):
    """``params.yaml``, or the environment, is wrong."""

    @classmethod
    def of_faults(cls, source: str, faults: list[str]) -> Self:
        """Reports all faults of one source together.

        Args:
            source: The file or environment that was read.
            faults: One line for each fault.
        """
        lines = "\n".join(f"  - {fault}" for fault in faults)
        return cls(f"{source} has {len(faults)} fault(s):\n{lines}", f"edit {source}")


class DataError(HousingError):
    """A delivery, or a table made from it, is wrong: no retry helps."""


class FileChangedError(DataError):
    """A file changed while it was read, for example because it is still being copied."""


class ModelError(HousingError):
    """A candidate cannot be trained, loaded or used."""


class PipelineError(HousingError):
    """Base of the errors on DVC's side."""


class GraphError(PipelineError):
    """``dvc.yaml``, or a file it is made from, is wrong: no retry helps."""


class StageFailedError(PipelineError):
    """A stage's command ended with an error.

    Args:
        fact: Which stage failed, and how.
        hint: What to do next.
        exit_code: The exit code of the command.
    """

    def __init__(self, fact: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(fact, hint)
        self.exit_code = exit_code


class InputsChangedError(PipelineError):
    """A dep or param changed while the stage's command ran, so nothing was saved: a retry helps."""


class DiskFullError(PipelineError):
    """A disk was full while DVC worked: a retry helps once there is space."""


class StageBusyError(PipelineError):
    """Somebody else holds DVC's lock, or the stage: a retry helps."""


class RemoteError(PipelineError):
    """DVC's remote storage did not answer: a retry helps."""


class TrackingError(HousingError):
    """Base of the errors on MLflow's side."""


class TrackingUnavailableError(TrackingError):
    """MLflow did not answer: a retry helps."""


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
    """``dvc.lock``, the workspace and MLflow do not agree."""


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

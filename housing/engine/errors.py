"""Every error that the engine raises, in one tree.

ExplainedError               base of every error that tells people what to do
└── EngineError              DVC's side
    ├── OptionsError         the options of a run or of a task group are wrong: no retry helps
    ├── GraphError           dvc.yaml, or a file it is made from, is wrong: no retry helps
    ├── StageFailedError     a stage's command ended with an error
    ├── InputsChangedError   deps or params changed while the command ran: a retry helps
    ├── DiskFullError        a disk was full while DVC worked: a retry helps once there is space
    ├── StageBusyError       somebody else holds DVC's lock, or the stage: a retry helps
    ├── RemoteError          DVC's remote storage did not answer: a retry helps
    └── WriteBackError       git did not take the result of a run: a retry helps

A message gives the fact, the offending value, and what to do next. A project puts its own errors
beside `EngineError`, below `ExplainedError`: the tasks then know which of them no retry can mend.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import Self

PERMANENT = frozenset({os.EX_DATAERR, os.EX_CONFIG})
"""Exit codes by which a stage's command says that a retry finds the same: 65 and 78.

They are those of sysexits.h for wrong data and wrong configuration.
"""

_OF_THE_PROJECT = re.compile(
    r"(?<![\w/.:-])(?<!uv run )(?<!\.env )(?=(?:housing|dvc|airflow|mlflow|python) -?[a-z])"
)
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


def typeable(hint: str) -> str:
    """A hint whose commands can be typed as they stand, where this process was started.

    The project's commands lie in its virtual environment. A process that ``uv run`` started is told
    so by the variable ``UV``: there, and only there, they need ``uv run`` before them.

    Args:
        hint: Text with commands such as ``housing run`` or ``dvc repro`` in it.
    """
    started_by = os.environ.get("UV")
    if not started_by:
        return hint
    uv = "uv" if shutil.which("uv") else started_by
    return _OF_THE_PROJECT.sub(f"{uv} run ", hint)


class ExplainedError(Exception):
    """Base of every error that tells people what to do.

    Addresses in its texts lose their logins, see `fit_to_show`.

    Args:
        fact: What is wrong, with the offending value.
        hint: What to do next: a command to type, see `typeable`, or what to change.

    Attributes:
        permanent: A retry finds the same fault, so that a task need not be tried again.
    """

    permanent = False

    def __init__(self, fact: str, hint: str = "") -> None:
        self.fact = fit_to_show(fact)
        self.hint = fit_to_show(typeable(hint))
        super().__init__(self.fact, self.hint)

    def __str__(self) -> str:
        return f"{self.fact}\n  next: {self.hint}" if self.hint else self.fact

    @classmethod
    def of_faults(cls, source: str, faults: list[str]) -> Self:
        """Reports all faults of one source together.

        Args:
            source: The file or environment that was read.
            faults: One line for each fault.
        """
        lines = "\n".join(f"  - {fault}" for fault in faults)
        return cls(f"{source} has {len(faults)} fault(s):\n{lines}", f"edit {source}")


class EngineError(ExplainedError):
    """Base of the errors on DVC's side."""


class OptionsError(EngineError):
    """The options of a run or of a task group are wrong: no retry helps."""

    permanent = True


class GraphError(EngineError):
    """``dvc.yaml``, or a file it is made from, is wrong: no retry helps."""

    permanent = True


class StageFailedError(EngineError):
    """A stage's command ended with an error.

    Args:
        fact: Which stage failed, and how.
        hint: What to do next.
        exit_code: The exit code of the command.
    """

    def __init__(self, fact: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(fact, hint)
        self.exit_code = exit_code
        self.permanent = exit_code in PERMANENT


class InputsChangedError(EngineError):
    """A dep or param changed while the stage's command ran, so nothing was saved: a retry helps."""


class DiskFullError(EngineError):
    """A disk was full while DVC worked: a retry helps once there is space."""


class StageBusyError(EngineError):
    """Somebody else holds DVC's lock, or the stage: a retry helps."""


class RemoteError(EngineError):
    """DVC's remote storage did not answer: a retry helps.

    Args:
        fact: Which remote, and what it said.
        hint: What to do next.
        refused: It did answer, and refused: waiting helps nothing, another worker may.
    """

    def __init__(self, fact: str, hint: str = "", *, refused: bool = False) -> None:
        super().__init__(fact, hint)
        self.refused = refused


class WriteBackError(EngineError):
    """git did not take the result of a run: a retry helps.

    Args:
        fact: What git was asked, and said.
        hint: What to do next.
        refused: It does not let us push there: no retry helps.
    """

    def __init__(self, fact: str, hint: str = "", *, refused: bool = False) -> None:
        super().__init__(fact, hint)
        self.permanent = refused

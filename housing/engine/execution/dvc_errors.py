"""DVC's exceptions, told apart by what a retry would do."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from dvc.config import RemoteConfigError, RemoteNotFoundError
from dvc.dependency.param import BadParamFileError, MissingParamsError, MissingParamsFile
from dvc.dvcfile import LOCK_FILE
from dvc.exceptions import CollectCacheError, FileTransferError
from dvc.exceptions import HTTPError as DvcHttpError
from dvc.output import OutputDoesNotExistError
from dvc.stage.exceptions import MissingDataSource, StageCmdFailedError
from dvc.utils.serialize import ParseError
from dvc.utils.strictyaml import YAMLValidationError

from housing.engine.errors import (
    EngineError,
    GraphError,
    InputsChangedError,
    RemoteError,
    StageBusyError,
    StageFailedError,
)
from housing.engine.execution import lockfile

if TYPE_CHECKING:
    from housing.engine.execution.stage_process import Command

_PARAMS = (MissingParamsError, MissingParamsFile, BadParamFileError)
_REMOTE = (
    CollectCacheError,
    DvcHttpError,
    FileTransferError,
    RemoteConfigError,
    RemoteNotFoundError,
    ConnectionError,
    TimeoutError,
)
_TABLE: tuple[tuple[tuple[type[BaseException], ...], type[EngineError], str], ...] = (
    ((OutputDoesNotExistError,), StageFailedError, "let the command write it, or correct outs"),
    ((MissingDataSource,), StageFailedError, "dvc pull"),
    (_PARAMS, GraphError, "correct the params file"),
    (_REMOTE, RemoteError, "dvc remote list"),
)


def told_apart(error: BaseException, command: Command) -> EngineError:
    """The error of this package for one that DVC raised while it ran a stage.

    Args:
        error: DVC's exception; what it wraps counts.
        command: What is known of the stage's command.
    """
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    for cause in reversed(causes):
        known = _known(cause, command)
        if known:
            return known
    return EngineError(f"stage {command.stage}: {explain(error)}", "dvc status")


def _known(cause: BaseException, command: Command) -> EngineError | None:
    stage = command.stage
    if isinstance(cause, EngineError):
        return cause
    if isinstance(cause, StageCmdFailedError):
        return failed(command, explain(cause))
    if isinstance(cause, (ParseError, YAMLValidationError)):
        return _unreadable(Path(cause.path).resolve(), cause)
    for kind, error, hint in _TABLE:
        if isinstance(cause, kind):
            return error(f"stage {stage}: {explain(cause)}", hint)
    return None


def _unreadable(path: Path, cause: ParseError | YAMLValidationError) -> GraphError:
    """The error for a file that DVC cannot read, while it stands in the root folder."""
    if path.name != LOCK_FILE:
        return GraphError(explain(cause), f"correct {path}, then: dvc dag")
    return lockfile.broken(path, path.read_text(encoding="utf-8", errors="replace"), explain(cause))


def absent(stage: str, deps: list[str], params: list[str]) -> EngineError | None:
    """The error for deps and params files that are not there, if any are not.

    Args:
        stage: The stage's name.
        deps: Missing files and folders: a retry may find them.
        params: Missing params files: no retry helps.
    """
    if params:
        return GraphError(f"stage {stage}: no params file {', '.join(params)}", "git status")
    far = [dep for dep in deps if "://" in dep]
    if far:
        said = f"stage {stage} gets no answer from, or no such file at: {', '.join(far)}"
        return RemoteError(said, "look at the address with curl, or at: dvc remote list")
    if deps:
        hint = "run the stages that write them, or put them there"
        return StageFailedError(f"stage {stage} needs what is not there: {', '.join(deps)}", hint)
    return None


def frozen_without(stage: str, outs: list[str]) -> StageFailedError | None:
    """The error for a frozen stage whose outs are not there, if any are not.

    Args:
        stage: The stage's name.
        outs: Missing files and folders, which its command would write.
    """
    if not outs:
        return None
    said = f"stage {stage} is frozen, so that DVC does not run it, and lacks: {', '.join(outs)}"
    hint = f"dvc checkout {stage}; or dvc pull {stage}; or, to run it again, dvc unfreeze {stage}"
    return StageFailedError(said, hint)


def failed(command: Command, said: str) -> StageFailedError:
    """The error for a command that did not end well.

    Args:
        command: The command.
        said: DVC's words, which name the command's text.
    """
    code = command.code
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    text = said.removeprefix("failed to run: ").rpartition(", exited with")[0] or said
    killed = code == -signal.SIGKILL
    hint = "look for a lack of memory: dmesg" if killed else "read the stage's own lines above"
    return StageFailedError(
        f"stage {command.stage} ended {how}: {text}", hint, code if code > 0 else 128 - code
    )


def stopped(command: Command) -> StageFailedError:
    """The error for a run that somebody ended."""
    code = 128 + signal.SIGTERM
    return StageFailedError(f"stage {command.stage} was stopped", "run it again", code)


def never_steady(change: InputsChangedError, times: int) -> InputsChangedError:
    """The error for deps or params that changed each time that the command ran.

    Args:
        change: What changed the last time.
        times: How often the command ran.
    """
    return InputsChangedError(
        f"{change.fact}: changed while the command ran, {times} times in a row; nothing is saved",
        "try again when they rest; what the stage itself writes belongs in its outs or .dvcignore",
    )


def busy(stage: str, error: BaseException) -> StageBusyError:
    """The error for a conflict in DVC's rwlock that lasted too long."""
    return StageBusyError(f"stage {stage}: {explain(error)}", "wait for the process named above")


def locked(stage: str) -> StageBusyError:
    """The error for somebody who kept DVC's lock for too long."""
    return StageBusyError(
        f"stage {stage}: somebody else holds DVC's lock",
        "pgrep -af dvc, and wait for that to end; with core.hardlink_lock and no such process: "
        "rm .dvc/tmp/lock",
    )


def explain(error: BaseException) -> str:
    """DVC's message with the messages of its causes, in one line; DVC's own often lacks them."""
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        text = " ".join(str(cause).split())
        if text and not any(text in line for line in said):
            said.append(text)
        cause = cause.__cause__
    return ": ".join(said)

"""Which errors end a task for good."""

from __future__ import annotations

from typing import Any, cast

import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from housing.engine.airflow.error_handling import ERROR_KEY, explained
from housing.engine.errors import ExplainedError, GraphError, StageBusyError, StageFailedError
from housing.errors import (
    ConfigError,
    DataError,
    EvidenceError,
    FileChangedError,
    ModelError,
    ModelStoppedError,
    TrackingUnavailableError,
)


class Task:
    """The part of a running task that is used."""

    def __init__(self) -> None:
        self.xcoms: dict[str, object] = {}

    def xcom_push(self, key: str, value: object) -> None:
        self.xcoms[key] = value


def ends(error: Exception) -> tuple[type[BaseException], dict[str, Any]]:
    task = Task()
    with pytest.raises(Exception) as caught, explained(cast("Context", {"ti": task})):  # noqa: PT011 - any
        raise error
    return caught.type, task.xcoms


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("a key is missing"),
        GraphError("no such stage"),
        DataError("no column MedInc"),
        ModelError("another number of features"),
        EvidenceError("a file of the model was changed"),
        StageFailedError("ingest_data ended with exit code 65", exit_code=65),
        StageFailedError("train_model ended with exit code 78", exit_code=78),
    ],
)
def test_what_a_retry_would_find_again_is_not_tried_again(error: ExplainedError) -> None:
    assert ends(error) == (AirflowFailException, {ERROR_KEY: str(error)})


@pytest.mark.parametrize(
    "error",
    [
        FileChangedError("june.csv changed while it was read"),
        ModelStoppedError("no answer within 600 s"),
        StageFailedError("train_model ended with exit code 1", exit_code=1),
        StageFailedError("train_model ended by SIGKILL", exit_code=137),
        StageBusyError("somebody holds the lock"),
        TrackingUnavailableError("no answer"),
        OSError("no space"),
    ],
)
def test_what_may_be_better_later_is_tried_again(error: Exception) -> None:
    assert ends(error) == (type(error), {ERROR_KEY: str(error)})


def test_a_skip_is_no_error() -> None:
    assert ends(AirflowSkipException("nothing to do")) == (AirflowSkipException, {})

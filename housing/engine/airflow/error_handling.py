"""How an error of this package ends a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk import Context

from housing.engine.airflow.compat import AirflowException, AirflowFailException
from housing.engine.errors import ExplainedError, fit_to_show

ERROR_KEY = "error"
"""XCom key of the message of a task that failed."""


@contextmanager
def explained(context: Context) -> Iterator[None]:
    """Leaves the message of any error in XCom, and says which errors no retry can mend.

    The message is there before Airflow knows of the failure, so that the alert finds it.

    Args:
        context: The task's context.

    Raises:
        AirflowFailException: Wrong data, ``dvc.yaml``, ``params.yaml`` or environment: no retry.
        Exception: Any other error goes on as it is, and is retried as the task says.
    """
    try:
        yield
    except AirflowException:
        raise  # Airflow's own way to skip a task or a branch
    except Exception as error:
        message = fit_to_show(str(error)) or type(error).__name__
        context["ti"].xcom_push(key=ERROR_KEY, value=message)
        if isinstance(error, ExplainedError) and error.permanent:
            raise AirflowFailException(message) from error
        raise

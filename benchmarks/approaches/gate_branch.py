"""What every approach ends with: the gate of this project, then promotion or alert."""

from __future__ import annotations

from typing import NamedTuple

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator, TriggerRule

from housing.orchestration.finish_tasks import FailureAlertOperator
from housing.orchestration.gate_tasks import PromoteOperator, ValidateModelOperator


class GateTasks(NamedTuple):
    """The three tasks of the gate."""

    validate: ValidateModelOperator
    promote: PromoteOperator
    alert: FailureAlertOperator


def judge(last: BaseOperator, root: str) -> GateTasks:
    """Makes the tasks of the gate in the DAG that is open.

    Args:
        last: The task that ends the pipeline; where it does not succeed, the run fails.
        root: The project's folder.
    """
    validate = ValidateModelOperator(
        task_id="validate_model",
        root=root,
        promote="promote_to_staging",
        alert="send_failure_alert",
    )
    promote = PromoteOperator(task_id="promote_to_staging", root=root, validate="validate_model")
    alert = FailureAlertOperator(task_id="send_failure_alert", validate="validate_model")
    last >> validate >> promote >> alert
    [last, validate] >> alert
    last >> EmptyOperator(task_id="done", trigger_rule=TriggerRule.NONE_FAILED)
    return GateTasks(validate, promote, alert)

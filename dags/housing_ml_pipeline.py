"""The DAG `housing_ml_pipeline`: every stage of dvc.yaml as a task, then the gate.

It starts once a day, and when a delivery comes. The stages and their edges are DVC's own. This file
only wires them to what follows. Where workers share no folder (docs/workers.md), a delivery is a
commit, which the next run takes, and `dvc.lock` goes back to the branch.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable
from airflow.sdk.api.datamodels._generated import DagRunType

from housing.domain.config import load_params
from housing.engine import DvcTaskGroup, WriteBackOperator, folder_asset
from housing.orchestration.alias_assets import alias_asset
from housing.orchestration.dashboard_task import DashboardOperator
from housing.orchestration.finish_tasks import FailureAlertOperator, SummaryOperator
from housing.orchestration.gate_tasks import PromoteOperator, ValidateModelOperator, gate_form
from housing.orchestration.house_workspace import apply_overrides, dag_settings
from housing.orchestration.notify_tasks import CHANNELS, NotifyOperator
from housing.settings import RUN_LINK

settings = dag_settings(__file__)
isolated = settings.workspace_kind == "isolated"
# A fault in params.yaml shows as this file's import error; the other DAGs go on.
params = load_params(settings.root / "params.yaml")
registry = params.registry
moved = (registry.staging, registry.champion) if registry.auto_champion else (registry.staging,)

# The first run comes with the first delivery: none is made up for the past midnight.
daily = CronTriggerTimetable("@daily", timezone="UTC", run_immediately=timedelta(0))
landing = folder_asset("housing", settings.root, params.data.landing)

with DAG(
    dag_id="housing_ml_pipeline",
    schedule=daily if isolated else AssetOrTimeSchedule(timetable=daily, assets=landing),
    catchup=False,
    max_active_runs=1,
    # No backfill: a stage reads what lies in the project now, whatever date its run has.
    allowed_run_types=[kind for kind in DagRunType if kind is not DagRunType.BACKFILL],
    default_args={
        "owner": "ml-platform",
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_delay),
    },
    params=gate_form(),
    tags=["housing", "dvc", "mlflow"],
    doc_md=__doc__,
) as dag:
    root = str(settings.root)
    stages = DvcTaskGroup(
        "stages",
        root=root,
        name="housing",
        workspace=settings.workspace_kind,
        operator_args={
            "apply_overrides": apply_overrides,
            "extra_links": [RUN_LINK],
            "remote_conn_id": settings.remote_conn_id,
            # The code of the workspace runs, and not the package that is installed on the worker.
            "env": {"PYTHONPATH": "."} if isolated else {},
        },
    )
    tasks = stages.stages
    messages = {channel: f"notify_{channel}" for channel in CHANNELS}
    validate = ValidateModelOperator(
        task_id="validate_model",
        root=root,
        promote="promote_to_staging",
        alert="send_failure_alert",
        # All stages ended well then. Only the write-back may still fail, and has to be told.
        telling=[] if isolated else ["send_failure_alert", *messages.values()],
        dashboard="" if isolated else "update_dashboard",
        doc_md="Judges the result by its evidence in MLflow; the limits are in `params.yaml`.",
    )
    promote = PromoteOperator(
        task_id="promote_to_staging",
        root=root,
        validate=validate.task_id,
        outlets=[alias_asset("housing", registry.model, alias) for alias in moved],
        doc_md="Registers the model once, and moves the alias `staging` to it.",
    )
    alert = FailureAlertOperator(
        task_id="send_failure_alert",
        validate=validate.task_id,
        doc_md="Tells people why a task failed, or why the gate rejected the model.",
    )
    notify = [
        NotifyOperator(
            task_id=task_id,
            channel=channel,
            root=root,
            validate=validate.task_id,
            promote=promote.task_id,
            alert=alert.task_id,
            retries=0,  # it tries again by itself, for half a minute
            doc_md=f"Tells people by {channel} what was promoted, or why nothing was.",
        )
        for channel, task_id in messages.items()
    ]
    names = {task.task_id: name for name, task in tasks.items()}
    dashboard = DashboardOperator(
        task_id="update_dashboard",
        root=root,
        stages=names,
        validate=validate.task_id,
        promote=promote.task_id,
        doc_md="Makes the page in the tab Housing anew, however the run went.",
    )
    summary = SummaryOperator(
        task_id="summarize_run",
        root=root,
        stages=names,
        validate=validate.task_id,
        promote=promote.task_id,
        dashboard=dashboard.task_id,
        doc_md="Sums the run up in `.housing/runs`; it fails where any task failed.",
    )
    if isolated:
        write_back = WriteBackOperator(
            task_id="write_back",
            root=root,
            stages=names,
            doc_md="Commits `dvc.lock` where all stages ended well, whatever the gate said.",
        )
        stages >> write_back >> alert
    stages >> validate >> promote
    stages.ended_before(alert)  # where one fails, the alert waits for those that still run
    [validate, promote] >> alert
    promote >> [*notify, dashboard]
    # The gate may skip all that comes between: the summary waits for its end.
    [validate, *(alert >> [*notify, dashboard])] >> summary

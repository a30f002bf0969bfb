"""The DAG `housing_champion`: a person decides whether the version in staging serves production.

It starts when staging changes. The question stands under *Required actions*, with challenger and
champion side by side; without an answer in time, nothing changes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, TriggerRule

from housing.domain.config import load_registered
from housing.orchestration.alias_assets import alias_asset
from housing.orchestration.approval import ApproveOperator, SetChampionOperator
from housing.orchestration.champion_tasks import CompareOperator
from housing.orchestration.dashboard_task import MovedDashboardOperator
from housing.orchestration.house_workspace import dag_settings

settings = dag_settings(__file__)
names = load_registered(settings.root / "params.yaml").registry

with DAG(
    dag_id="housing_champion",
    schedule=alias_asset("housing", names.model, names.staging),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={
        "owner": "ml-platform",
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_delay),
    },
    tags=["housing", "mlflow"],
    doc_md=__doc__,
) as dag:
    compare = CompareOperator(
        task_id="compare",
        root=str(settings.root),
        doc_md="Puts challenger and champion side by side.",
    )
    approve = ApproveOperator(
        task_id="approve",
        root=str(settings.root),
        compare=compare.task_id,
        doc_md="Asks a person; see *Required actions*.",
    )
    decide = SetChampionOperator(
        task_id="set_champion",
        root=str(settings.root),
        approve=approve.task_id,
        outlets=[alias_asset("housing", names.model, names.champion)],
        doc_md="Moves the alias to the approved version, and writes the journal.",
    )
    dashboard = MovedDashboardOperator(
        task_id="update_dashboard",
        root=str(settings.root),
        trigger_rule=TriggerRule.NONE_FAILED,  # a no is news as well
        doc_md="Makes the page in the tab Housing anew.",
    )
    compare >> approve >> decide >> dashboard

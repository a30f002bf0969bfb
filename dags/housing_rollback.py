"""The DAG `housing_rollback`: puts an alias back to the version before, for a reason."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, Param

from housing.domain.config import load_registered
from housing.orchestration.alias_assets import alias_asset
from housing.orchestration.champion_tasks import RollbackOperator
from housing.orchestration.dashboard_task import MovedDashboardOperator
from housing.orchestration.house_workspace import dag_settings

settings = dag_settings(__file__)
names = load_registered(settings.root / "params.yaml").registry

with DAG(
    dag_id="housing_rollback",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    default_args={"owner": "ml-platform"},
    tags=["housing", "mlflow"],
    params={
        "alias": Param(
            names.champion,
            title="Alias",
            type="string",
            enum=[names.champion, names.staging],
        ),
        "reason": Param(
            type="string",
            minLength=3,
            maxLength=1000,  # MLflow keeps it in a tag
            title="Reason",
            description="For the journal.",
        ),
    },
    doc_md=__doc__,
) as dag:
    back = RollbackOperator(
        task_id="roll_back",
        root=str(settings.root),
        outlets=[alias_asset("housing", names.model, names.champion)],
        doc_md="Moves the alias, and writes the journal.",
    )
    back >> MovedDashboardOperator(
        task_id="update_dashboard",
        root=str(settings.root),
        doc_md="Makes the page in the tab Housing anew.",
    )

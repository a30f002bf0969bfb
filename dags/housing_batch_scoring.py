"""The DAG `housing_batch_scoring`: prices every file in `data/scoring/` by the champion.

It starts when the champion changes, and when a file comes. A file is priced once for each version;
the prices are in `data/predictions/`. A file that cannot be priced is set aside, with its reason
beside the prices: people are told once, and it is tried again when it changes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TriggerRule

from housing.domain.config import load_registered
from housing.engine import folder_asset
from housing.orchestration.alias_assets import alias_asset
from housing.orchestration.dashboard_task import MovedDashboardOperator
from housing.orchestration.house_workspace import dag_settings
from housing.orchestration.notify_tasks import CHANNELS, NotifyScoringOperator
from housing.orchestration.scoring_tasks import FindFilesOperator, ScoreFileOperator

settings = dag_settings(__file__, "data/scoring")
names = load_registered(settings.root / "params.yaml").registry
champion = alias_asset("housing", names.model, names.champion)
files = folder_asset("housing", settings.root, Path("data/scoring"))

with DAG(
    dag_id="housing_batch_scoring",
    schedule=champion | files,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "owner": "ml-platform",
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_delay),
    },
    tags=["housing", "mlflow"],
    doc_md=__doc__,
) as dag:
    find = FindFilesOperator(
        task_id="find_files",
        root=str(settings.root),
        alias=names.champion,
        doc_md="Finds the files that the champion has not priced yet.",
    )
    score = ScoreFileOperator.partial(
        task_id="score_file",
        root=str(settings.root),
        max_active_tis_per_dag=1,  # one file takes every core
        map_index_template="{{ task.file.split('/')[-1] }}",
        doc_md="Prices one file; its bad rows go to quarantine.",
    ).expand_kwargs(find.output)
    notify = [
        NotifyScoringOperator(
            task_id=f"notify_{channel}",
            channel=channel,
            root=str(settings.root),
            retries=0,  # it tries again by itself, for half a minute
            doc_md=f"Tells people by {channel} which files cannot be priced, and what failed.",
        )
        for channel in CHANNELS
    ]
    dashboard = MovedDashboardOperator(
        task_id="update_dashboard",
        root=str(settings.root),
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        doc_md="Makes the page in the tab Housing anew, where a file was priced.",
    )
    # The run's state is that of its last task: what failed before the messages counts as well.
    done = EmptyOperator(
        task_id="done",
        trigger_rule=TriggerRule.NONE_FAILED,
        doc_md="Fails where a task failed.",
    )
    score >> notify >> done
    score >> dashboard >> done
    [find, score] >> done

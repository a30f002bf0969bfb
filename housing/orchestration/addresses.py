"""Where a browser sees the pages of Airflow's UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

DASHBOARD = "housing"
"""Name of the dashboard's tab in the addresses of the UI."""


def run_page(ti: RuntimeTaskInstanceProtocol) -> str:
    """The page of the run that a task belongs to."""
    return ti.log_url.partition("/tasks/")[0]


def dashboard_tab(ti: RuntimeTaskInstanceProtocol) -> str:
    """The page of the dashboard, in the UI that shows a task."""
    return f"{ti.log_url.partition('/dags/')[0]}/plugin/{DASHBOARD}"

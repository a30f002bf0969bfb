"""The tab *Housing* in the Airflow UI, for the Airflow whose plugins folder this is.

It is no entry point of the package: other teams that install the engine have no such dashboard.
"""

from housing.orchestration.plugin import DashboardPlugin

__all__ = ["DashboardPlugin"]

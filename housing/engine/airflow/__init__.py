"""Airflow's side of the engine: operator, task group, run options, workspace."""

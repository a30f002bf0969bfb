"""Airflow's side: renders DVC's graph as tasks, and decides what each task does in a run."""

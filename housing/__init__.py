"""House prices: a DVC pipeline that Airflow runs stage by stage, gated by MLflow."""

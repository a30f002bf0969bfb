"""Everything between ``dvc.yaml`` and Airflow; it knows nothing of houses or MLflow."""

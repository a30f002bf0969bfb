"""The pure part: data in, data out, without Airflow, DVC or MLflow."""

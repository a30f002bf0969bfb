"""MLflow's side: tracked runs, registered versions, batch scoring."""

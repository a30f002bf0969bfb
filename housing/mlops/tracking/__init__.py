"""MLflow's side of a result: which run holds it, and what that run must hold."""

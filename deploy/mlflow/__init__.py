"""MLflow's server, for tests and for trying things."""

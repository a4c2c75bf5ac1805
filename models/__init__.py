"""Features, training, artifacts, routing and scorers."""

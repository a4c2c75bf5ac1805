"""The scoring worker: consume, decide, publish, commit."""

"""Run the models of a rollout at a SageMaker endpoint: packed, planned, applied and taken back."""

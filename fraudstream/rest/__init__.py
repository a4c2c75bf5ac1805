"""Decide one transaction a request, for callers that have no Kafka: the same models, policy and decisions."""

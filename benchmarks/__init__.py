"""Measured claims: the worker beside its peers, on a real Kafka, every output read back and checked."""

"""A real Apache Kafka on this machine, from its own jars."""

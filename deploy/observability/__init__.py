"""What Prometheus, Alertmanager and Grafana are told of fraudstream, and those programs themselves for tests."""

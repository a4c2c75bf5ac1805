"""What a process loads before it does anything: every worker, command and test waits for it."""

import subprocess
import sys

SLOW = {
    "boto3",
    "confluent_kafka.schema_registry",
    "matplotlib",
    "mlflow",
    "opentelemetry",
    "pandas",
    "pyarrow",
    "sklearn",
}


def loaded_by(module):
    shown = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_line_loads_no_model_and_no_data_frame():
    assert loaded_by("fraudstream.__main__").isdisjoint(SLOW | {"scipy", "xgboost"})


def test_a_worker_loads_what_it_scores_with_and_no_more():
    loaded = loaded_by("consumer.worker")

    assert "xgboost" in loaded
    assert loaded.isdisjoint(SLOW)

PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
KILLS := 25
EVENTS := 100000
SECONDS := 600

.PHONY: help demo test lint bench bench-drift bench-sagemaker outage chaos kafka kafka-stop lock clean
.DEFAULT_GOAL := help

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/ready ## watch real card transactions being scored, on this machine alone
	@$(BIN)/fraudstream demo

test: $(VENV)/ready ## every test, with a real Apache Kafka (REQUIRE_KAFKA=1: its absence is a failure)
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/ready ## style, types and the direction of imports
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(VENV)/ready ## throughput and latency beside their peers, on a real Kafka
	@$(BIN)/python -m benchmarks $(BENCH)

bench-drift: $(VENV)/ready ## the tests of drift beside their peers, and their alarms with and without drift
	@$(BIN)/python -m benchmarks.drift
	@$(BIN)/python -m benchmarks.drift_alarms

bench-sagemaker: $(VENV)/ready ## scoring at an endpoint of 1, 10 and 50 ms beside scoring in process
	@$(BIN)/python -m benchmarks.sagemaker

outage: $(VENV)/ready ## a SageMaker endpoint that is down under load on a real Kafka: SECONDS=600
	@FRAUDSTREAM_TEST_OUTAGE_SECONDS=$(SECONDS) REQUIRE_KAFKA=1 $(BIN)/pytest -q --timeout 3600 \
		tests/kafka/test_sagemaker.py -k outage_under_load

chaos: $(VENV)/ready ## kill workers and the broker under load, and audit what they decided: KILLS=25 EVENTS=100000
	@$(BIN)/python -m benchmarks.chaos --kills $(KILLS) --events $(EVENTS)

kafka: $(VENV)/ready ## start a real Kafka on 127.0.0.1:9092 for trying things
	@$(BIN)/python -m deploy.kafka start

kafka-stop: $(VENV)/ready ## stop it
	@$(BIN)/python -m deploy.kafka stop

lock: $(VENV)/uv ## pin every dependency again, with hashes
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --group dev pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --group mlflow-server -o deploy/mlflow/requirements.lock

clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "fraudstream needs Python 3.11 or newer; say which with PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q uv==$(UV_VERSION) && touch $@

$(VENV)/ready: requirements.lock pyproject.toml | $(VENV)/uv
	@echo "Installing into $(VENV) ..." >&2
	@$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --editable .
	@touch $@

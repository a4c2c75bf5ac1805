PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KILLS := 25
EVENTS := 100000
RECORDS := 1000000
HOURS := 2
SECONDS := 600

SITE := .cache/site
LOCKS := requirements.lock docs/requirements.lock deploy/mlflow/requirements.lock
# What is installed, where bandit looks.
PACKAGES := consumer producer models drift schemas deploy fraudstream
.PHONY: help demo up down test lint docs dist audit-dependencies bench bench-drift bench-sagemaker outage chaos faults
.PHONY: fuzz soak kafka kafka-stop dashboards lock clean
.DEFAULT_GOAL := help

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/ready ## watch real card transactions being scored, on this machine alone
	@$(BIN)/fraudstream demo

up: ## everything on one machine, in containers: Kafka, workers, monitor, dashboards (needs Docker; docs/deploy.md)
	@docker compose up --build --detach

down: ## end it; what was written stays in its volumes
	@docker compose down

test: $(VENV)/ready ## every test, with a real Apache Kafka (REQUIRE_KAFKA=1: its absence is a failure)
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/ready ## style, types, the direction of imports, and what bandit finds
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
	@$(BIN)/bandit -q -r -c pyproject.toml $(PACKAGES)

audit-dependencies: $(VENV)/ready ## known vulnerabilities of what is locked (asks Python's registry)
	@for lock in $(LOCKS); do $(BIN)/pip-audit --strict --disable-pip --require-hashes -r $$lock || exit 1; done

dist: $(VENV)/ready ## the package as a wheel and as source, in dist/
	@rm -rf dist && $(BIN)/python -m hatchling build

docs: $(VENV)/ready $(SITE)/ready ## the generated pages of docs/ anew, and all of docs/ as a site in .cache/site/html
	@$(BIN)/python -m fraudstream.reference docs
	@NO_MKDOCS_2_WARNING=1 $(SITE)/venv/bin/mkdocs build --strict --site-dir $(SITE)/html

bench: $(VENV)/ready ## throughput and latency beside their peers, on a real Kafka
	@$(BIN)/python -m benchmarks $(BENCH)

bench-drift: $(VENV)/ready ## the tests of drift beside their peers, and their alarms with and without drift
	@$(BIN)/python -m benchmarks.drift
	@$(BIN)/python -m benchmarks.drift_alarms

bench-sagemaker: $(VENV)/ready ## scoring at an endpoint of 1, 10 and 50 ms beside scoring in process, alone and through Kafka
	@$(BIN)/python -m benchmarks.sagemaker
	@$(BIN)/python -m benchmarks.sagemaker --kafka

outage: $(VENV)/ready ## a SageMaker endpoint that is down under load on a real Kafka: SECONDS=600
	@FRAUDSTREAM_TEST_OUTAGE_SECONDS=$(SECONDS) REQUIRE_KAFKA=1 $(BIN)/pytest -q --timeout 3600 \
		tests/kafka/test_sagemaker.py -k outage_under_load

chaos: $(VENV)/ready ## kill workers and the broker under load, and audit what they decided: KILLS=25 EVENTS=100000
	@$(BIN)/python -m benchmarks.chaos --kills $(KILLS) --events $(EVENTS)

faults: $(VENV)/ready ## break the network, the broker and its disk under load (needs Go), and audit what was decided
	@$(BIN)/python -m benchmarks.chaos --suite faults --events 50000

fuzz: $(VENV)/ready ## let the worker decide mutated records: RECORDS=1000000
	@$(BIN)/python -m benchmarks.fuzz --records $(RECORDS) $(FUZZ)

soak: $(VENV)/ready ## hours under load and faults: does memory grow, is every audit clean: HOURS=2, RATE= for one of yours
	@$(BIN)/python -m benchmarks.soak --hours $(HOURS) $(if $(RATE),--rate $(RATE)) $(SOAK)

kafka: $(VENV)/ready ## start a real Kafka on 127.0.0.1:9092 for trying things
	@$(BIN)/python -m deploy.kafka start

kafka-stop: $(VENV)/ready ## stop it
	@$(BIN)/python -m deploy.kafka stop

dashboards: $(VENV)/ready ## write the dashboards for Grafana again, from their code
	@$(BIN)/python -m deploy.observability

lock: $(VENV)/uv ## pin every dependency again, with hashes
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --group dev pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --group mlflow-server -o deploy/mlflow/requirements.lock
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --group docs -o docs/requirements.lock

clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "fraudstream needs Python 3.11 or newer; say which with PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q --require-hashes -r deploy/uv.txt && touch $@

$(VENV)/ready: requirements.lock pyproject.toml | $(VENV)/uv
	@echo "Installing into $(VENV) ..." >&2
	@$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --editable .
	@touch $@

$(SITE)/ready: docs/requirements.lock | $(VENV)/uv
	@echo "Installing into $(SITE) ..." >&2
	@$(BIN)/uv venv -q --allow-existing --python $(BIN)/python $(SITE)/venv
	@$(BIN)/uv pip install -q --python $(SITE)/venv/bin/python --require-hashes -r docs/requirements.lock
	@touch $@

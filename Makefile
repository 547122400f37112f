# make run   sets up .venv (once) and starts the hub
# make test  sets up .venv (once) and runs all checks and tests
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin

# The tests start the same programs many times: cache their bytecode, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test check client fuzz lock bench
run: .venv/run.stamp
	$(BIN)/pinwheel run $(ARGS)

# One process more than there are cores: some tests wait most of the time.
test: .venv/test.stamp check
	$(BIN)/python -m pytest --numprocesses $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)') --dist worksteal $(ARGS)

# All checks but the tests: style, types, which package imports which.
check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Generates client/operations.py, the Python client, from the OpenAPI document.
client: .venv/test.stamp
	$(BIN)/python -m plugins.openapi.client_generator > .venv/operations.py
	$(BIN)/ruff format --stdin-filename client/operations.py - < .venv/operations.py > client/operations.py

# Runs all benchmarks of docs/performance.md (an hour) or some (ARGS="ingest small"), and writes its table.
bench: .venv/test.stamp
	$(BIN)/python -m bench report $(ARGS)

# A million random inputs into the MQTT decoder (needs Atheris' wheel: x86-64).
fuzz: .venv/test.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	PYTHONPATH=. $(BIN)/python tests/connectors/mqtt/fuzz_mqtt.py -runs=1000000 -max_len=512 -artifact_prefix=.venv/ $(ARGS)

# Set up again when dependencies or entry points change. The stamp is written last, so that a failed setup is repeated.
.venv/run.stamp: pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pinwheel needs Python 3.11 or newer: make run PYTHON=python3.12")'
	@echo "Setting up .venv with the hub's libraries; the first time this takes some minutes …" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "No venv module: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@# compat: a path instead of an import hook, which would slow down the start of every command.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

.venv/test.stamp: .venv/run.stamp requirements-test.txt
	@echo "Installing the libraries of the tests; the first time this takes some minutes …" >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.txt
	@touch $@

# Updates both lock files (needs uv), for every supported platform and Python version.
lock:
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --extra console pyproject.toml config/build.in -o requirements.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --extra console --extra test -c requirements.txt pyproject.toml -o requirements-test.txt

# Every target does its own set-up in the checkout: Python 3.11+, make and git are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.dev-ready

.PHONY: proof test suite full lint bench clean setup setup-dev lock crash attack live

proof: $(READY)  ## the main job, end to end, on embedded defaults
	$(BIN)/colibri first-proof

test: lint suite  ## lint, types, import rules and the whole suite

suite: $(DEV_READY)
	$(BIN)/python -m pytest -n 4 --dist loadgroup $(PYTEST_ARGS)

full: lint  ## the suite with every combination, longer than CI may take
	COLIBRI_TEST_FULL=1 $(BIN)/python -m pytest -n 4 --dist loadgroup $(PYTEST_ARGS)

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV_READY)  ## figures beside their baselines, in the same run
	$(BIN)/python -m tests.bench

crash: $(DEV_READY)  ## the full sweep: killed at every call, not only the state-changing ones
	COLIBRI_TEST_CRASH_FULL=1 $(BIN)/python -m pytest tests/crash

attack: $(DEV_READY)  ## the races, at length: over a million attempts in containers and machines
	COLIBRI_TEST_RACE_SCALE=10 $(BIN)/python -m pytest -n 4 --dist loadgroup tests/attack tests/nest

live: $(DEV_READY)  ## the same behaviour against real servers: see CONTRIBUTING.md
	$(BIN)/python -m pytest tests/live

setup: $(READY)
setup-dev: $(DEV_READY)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "colibri needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "this Python cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

$(DEV_READY): requirements-dev.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

lock:  ## pin again: versions and hashes, no index address (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group build pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group build --group dev pyproject.toml -o requirements-dev.txt

clean:
	rm -rf $(VENV) .work .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

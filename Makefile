# Every target sets up what it needs: `make run` and `make test` work on a fresh checkout.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-long lint types bench format schema docs clean

help:  ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv and install the package with everything the embedded profile needs

# A bare Debian has venv but not ensurepip: so the environment is made without pip, and the
# system's pip installs into it.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv --without-pip .venv
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --editable '.[all,dev]'
	@touch $(STAMP)

run: setup  ## Serve the platform at http://127.0.0.1:8003 (data in ./.polystore)
	@$(BIN)/neo-polystore serve --samples

demo: setup  ## Write, read back and write again a sample of every data type
	@$(BIN)/neo-polystore demo

test: setup  ## Run the whole test suite
	$(BIN)/python -m pytest -m 'not long'

test-long: setup  ## Run the long forms of the proofs as well
	$(BIN)/python -m pytest

lint: setup  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## Check types
	$(BIN)/mypy

docs: setup  ## Write docs/configuration.md from the settings
	$(BIN)/python -m tools.configuration

bench: setup  ## Run every benchmark
	$(BIN)/python -m benchmarks

format: setup  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: setup  ## Write schemas/postgres from what the migrations build
	$(BIN)/python -m tools.schema

clean:  ## Remove the environment, caches and build products (not your data in .polystore)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

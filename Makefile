# `make` alone tells what there is. Everything sets up what it needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help setup demo test faults lint bench soak clean

help:            ## This list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv with everything pinned

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Roundtrip needs Python 3.11 or later; name one with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)   ## Run the reference loop and show it (ARGS="--users 5000 --seed 7")
	$(BIN)/roundtrip demo $(ARGS)

test: $(STAMP)   ## Run every test but the faults
	$(BIN)/python -m pytest -n 3 --dist loadfile --ignore=tests/faults $(ARGS)

faults: $(STAMP) ## Run the tests that kill whole process trees and servers
	$(BIN)/python -m pytest tests/faults $(ARGS)

lint: $(STAMP)   ## Style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Run every benchmark (ARGS=--quick)
	@for name in $$(grep -l '^def main' benchmarks/*.py | grep -v load); do \
	  $(BIN)/python -m benchmarks.$$(basename $$name .py) $(ARGS) || failed=1; \
	done; exit $${failed:-0}

soak: $(STAMP)   ## Property tests with many more examples
	ROUNDTRIP_EXAMPLES=100 $(BIN)/python -m pytest tests/unit tests/integration/test_openapi.py --hypothesis-profile=soak --timeout=14400 $(ARGS)

clean:           ## Remove the embedded engines' data
	rm -rf .roundtrip

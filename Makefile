PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Folders of an editable install change with the metadata, so the environment follows pyproject.toml.
READY := $(VENV)/.ready

.PHONY: demo test lint check fuzz mutations clean

demo: $(READY)  ## start the shop and its backend; Ctrl-C stops both
	$(BIN)/python -m example_app.demo

test: $(READY)  ## all tests, with coverage; the rules in sansio/ to the last branch
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest --cov --cov-report=
	$(BIN)/python -m coverage report --include='flask_api_layer/sansio/*' --fail-under=100
	$(BIN)/python -m coverage report --omit='flask_api_layer/sansio/*' | tail -n 3

lint: $(READY)  ## formatting, types and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

check: lint test

SECONDS ?= 60
FUZZ_TARGETS := answers csrf next_urls paths requests seals tokens

fuzz: $(READY)  ## look for input that breaks a law, SECONDS for each target; Linux only
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@status=0; for target in $(FUZZ_TARGETS); do \
	  $(BIN)/python -m fuzz.run $$target --seconds $(SECONDS) || status=1; \
	done; exit $$status

mutations: $(READY)  ## disable each security check in turn, in a copy, and see a test fail
	$(BIN)/python -m tests.mutations

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "flask-api-layer needs Python 3.11 or later; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

# boneprint. `make demo` and `make test` make their own environment; nothing else needs to be set up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check lint bench docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.check: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable '.[check]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run ## identify a simulated bone from an X-ray, from CT folder to picture
	$(BIN)/python examples/demo.py demo-out

test: $(VENV)/.check ## the fast tests
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.check ## crash enumeration, kill loops, training
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.check ## ruff, mypy, the floor plan, the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/check.py

check: lint test ## everything a change must pass

bench: $(VENV)/.check ## benchmarks; tables to the screen, JSON to benchmarks/results/
	$(BIN)/python benchmarks/identify.py

docs: $(VENV)/.run ## write anew what is made from code, card and benchmark: two pages and the README's figures
	$(BIN)/python docs/build.py

clean: ## remove what make made here, the environment too
	rm -rf $(VENV) demo-out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

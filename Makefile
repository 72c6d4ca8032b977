# `make` lists the targets. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast check format models figures docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.setup ## create .venv and install the package

# torch first, by exact version: a range would fetch the newest build and gigabytes of CUDA packages with it
$(VENV)/.setup: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; use: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@echo "installing into $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/.setup-bench: $(VENV)/.setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

run: $(VENV)/.setup ## train, evaluate and report the default experiment
	@$(BIN)/python run.py

test: $(VENV)/.setup-dev check ## the whole test suite, with lint and types
	@$(BIN)/python -m pytest

test-fast: $(VENV)/.setup-dev ## the tests that neither train nor start processes
	@$(BIN)/python -m pytest -m 'not slow'

check: $(VENV)/.setup-dev ## lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: $(VENV)/.setup-dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

models: $(VENV)/.setup ## make the tiny models again, from nothing
	@$(BIN)/python -m tgpo.tiny

figures: $(VENV)/.setup ## the README's numbers and pictures: three objectives, five seeds, half an hour
	@$(BIN)/python run.py -m experiment=first_look
	@$(BIN)/python -m experiments.first_look

bench: $(VENV)/.setup-bench ## seconds a step against TRL, and each objective against grpo; writes benchmarks/results/
	@$(BIN)/python -m benchmarks.step_time
	@$(BIN)/python -m benchmarks.objective_cost

docs: $(VENV)/.setup-dev ## the noise table of docs/objectives.md, computed
	@$(BIN)/python -m experiments.enumerable

clean: ## remove the environment and caches, not the runs
	@rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info

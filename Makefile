# Two commands for a newcomer: `make run` and `make test`. Everything goes into .venv and .spotlift of this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
SYNC := --locked --extra cpu --extra controller
# uv itself, as it is in uv.lock's world: one pinned version, from the package index.
UV_VERSION := 0.13.8

.PHONY: run test bench bench-peers up down lint format clean setup

run: setup  ## set up, and enhance the sample batch through the whole local stack; one machine is taken away half-way
	@SPOTLIFT_LEAST_MACHINES=2 $(BIN)/spotlift up
	@$(BIN)/spotlift submit samples/first-batch --wait --take-one-away --fetch results
	@echo "The stack stays up to be looked at; 'make down' ends it."

test: setup lint $(VENV)/.for-tests  ## set up, and run every test in two processes, a file in one of them
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: setup bench-peers  ## measure; prints ratios against a baseline of the same run
	$(BIN)/python -m tests.bench

# Other upscalers to be measured beside ours. Without a network what is missing is left out, and the bench says so.
bench-peers: setup
	@VIRTUAL_ENV=$(VENV) $(UV) sync --active $(SYNC) --group bench --inexact --quiet \
	  || echo "The peers cannot be installed now (is there a network?); the bench goes on without them."

up: setup  ## start the local stack
	@$(BIN)/spotlift up

down:  ## end the local stack, machines included
	@$(BIN)/spotlift down

lint: setup  ## what CI insists on
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: down  ## remove everything that was made, results included
	rm -rf $(VENV) .spotlift results .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

setup: $(VENV)/.ready

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# uv would remove itself from the environment, being no dependency: --inexact keeps it.
$(VENV)/.ready: pyproject.toml uv.lock | $(UV)
	@echo "Setting up $(VENV) (the first time this downloads about half a gigabyte)"
	VIRTUAL_ENV=$(VENV) $(UV) sync --active $(SYNC) --inexact --compile-bytecode
	@touch $@

$(VENV)/.for-tests: $(VENV)/.ready
	VIRTUAL_ENV=$(VENV) $(UV) sync --active $(SYNC) --group jax --extra notebook --inexact --compile-bytecode
	@touch $@

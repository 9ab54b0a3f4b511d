# Two commands: `make demo` and `make test`. Each makes the virtual environment by itself, once.

PYTHON ?= $(shell for p in python3.12 python3.13 python3; do $$p -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= runs
WORKERS ?= 2

.PHONY: help demo test test-slow test-cuda test-extras test-gpu slurm-test lint format types benchmarks clean
help:
	@echo "make demo        the quickstart: a table, figures and one HTML page in $(OUT)/quickstart (two minutes)"
	@echo "make test        the tests (about 10 minutes); make test-slow: the long ones too"
	@echo "make test-cuda   compiles CUDA code; no device needed"
	@echo "make test-extras interchange with other tools, with their libraries"
	@echo "make slurm-test  sweeps on a real Slurm, which it installs (root only, BIOREP_TEST_INSTALL=1)"
	@echo "make test-gpu    the tests that need a CUDA device"
	@echo "make lint types  ruff and mypy"
	@echo "make benchmarks  speed, as ratios to named peers, on one thread"

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "biorep needs Python 3.12 or 3.13: install it, or name it with 'make PYTHON=/path/to/python3.12'"; exit 1; }
	@echo "Making the virtual environment in $(VENV) with $(PYTHON) (once; a few minutes and about 6 GB, most of it torch)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	@echo "Running the plan models/quickstart.yaml; finished stages in $(OUT) are not repeated"
	@$(BIN)/biorep run quickstart --out $(OUT)

test: $(READY)
	@echo "Running the tests on $(WORKERS) processes"
	@$(BIN)/python -m pytest -q -n $(WORKERS)

test-slow: $(READY)
	@$(BIN)/python -m pytest -q -m "not gpu and not cuda and not network"

$(VENV)/.gpu: requirements-gpu.lock $(READY)
	@echo "Installing the CUDA compiler (once; 0.4 GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-gpu.lock
	@touch $@

test-cuda: $(VENV)/.gpu
	@echo "Compiling CUDA code"
	@$(BIN)/python -m pytest -q -m cuda

$(VENV)/.extras: requirements-extras.lock $(READY)
	@echo "Installing the libraries of the extras interop and slurm (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-extras.lock
	@touch $@

test-extras: $(VENV)/.extras
	@echo "Running the tests of the optional libraries"
	@$(BIN)/python -m pytest -q tests/interop tests/integration/test_slurm.py

# Needs root and BIOREP_TEST_INSTALL=1: installs Slurm, starts it on this machine and stops it afterwards.
slurm-test: $(VENV)/.extras
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/integration/with_slurm.sh $(BIN)/python -m pytest -q -rs tests/integration/test_slurm.py

test-gpu: $(VENV)/.gpu
	@$(BIN)/python -m pytest -q -m gpu

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(READY)
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: $(READY)
	@$(BIN)/mypy

benchmarks: $(READY)
	@for f in benchmarks/kh_update.py benchmarks/spectrum.py benchmarks/batch.py benchmarks/spiking.py benchmarks/spiking_start.py; do $(BIN)/python $$f || exit 1; done

clean:
	rm -rf $(VENV)

# Needs make and Python 3.11 or newer, nothing else. Every target makes .venv and installs what it needs into it;
# pip's own configuration is honoured. `make PYTHON=/path/to/python3` picks another Python.

MIN := 3.11
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench

# twice --quiet: errors only. --no-compile: byte code is made when a module is first imported, so that what is never imported costs nothing
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet --no-compile --constraint constraints.txt

# a Python that is new enough and can make virtual environments
FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < tuple(map(int, "$(MIN)".split("."))))
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$name" -c '$(FITS)' >/dev/null 2>&1 && command -v "$$name" && break; done)

# several test processes run side by side: one thread each, and no question to a model hub
ALONE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
WORKERS ?= 2
ARGS ?=

.PHONY: help demo test test-slow bench lint docs clean
help:
	@echo "make demo     the whole job on the bundled task and model: verdict and report in ./demo"
	@echo "make test     the tests; ARGS=... goes to pytest, WORKERS=$(WORKERS) is the number of processes"
	@echo "make test-slow  the few that take longest: servers killed again and again, several processes, browsers"
	@echo "make bench    the benchmarks; figures in benchmarks/results; ARGS=... names some of them"
	@echo "make lint     ruff and mypy"
	@echo "make docs     rewrite what the documentation takes from the code"
	@echo "make clean    remove .venv, ./demo and caches"

demo: $(RUN)
	@$(BIN)/kasauti demo demo $(ARGS)

test: $(DEV)
	@$(ALONE) $(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow" $(ARGS)

test-slow: $(DEV)
	@$(ALONE) $(BIN)/python -m pytest -q -n $(WORKERS) -m slow $(ARGS)

bench: $(BENCH)
	@HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/run.py $(ARGS)

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/mypy

docs: $(DEV)
	@$(BIN)/python tools/reference.py

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first, and from the constraints: left to the others, a newer build with gigabytes of its own could be taken
$(RUN): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: no Python $(MIN) or newer with the venv module was found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@if ! "$(PYTHON)" -c '$(FITS)' >/dev/null 2>&1; then \
		echo "make: $(PYTHON) is not Python $(MIN) or newer with the venv module; name one that is: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@if ! $(BIN)/python -c '$(FITS); import pip' >/dev/null 2>&1; then \
		echo "making $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv --clear $(VENV); fi
	@echo "installing Kasauti into $(VENV): a minute or two the first time"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) --editable .
	@touch $@

$(DEV): $(RUN)
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@

$(BENCH): $(RUN)
	@echo "installing what the benchmarks need into $(VENV)"
	@$(PIP) --editable '.[bench]'
	@touch $@

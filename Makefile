# Everything from a fresh clone: `make demo` and `make test` create .venv themselves.
# They need python3 >= 3.11 (with venv) and make, nothing else. PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
BIN := .venv/bin
CARSPOTTER_SHARED ?= ../shared/data
# One thread per test process: two processes on two cores, and the same figures everywhere.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help demo test test-slow test-all lint bench docs clean

help:
	@echo "make demo       train on drawn cars, write a submission, show where to look"
	@echo "make test       the fast tests (under 3 minutes)"
	@echo "make test-slow  the rest: whole trainings, a bare install, the real photos"
	@echo "make test-all   both"
	@echo "make lint       ruff, mypy, import layers"
	@echo "make bench      print the figures of benchmarks/"
	@echo "make docs       write docs/cli.md anew"
	@echo "make clean      remove .venv and the demo; your models and runs stay"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "carspotter needs Python 3.11 or newer; name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv

# Installed anew only when what is to be installed has changed.
.venv/train.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train]"
	@touch $@

.venv/dev.stamp: .venv/train.stamp
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"  # the first that knows --group
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	@touch $@

demo: .venv/train.stamp
	$(BIN)/carspotter demo

test: .venv/dev.stamp
	$(PYTEST) -n 2 -m "not slow"

test-slow: .venv/dev.stamp
	$(PYTEST) -n 2 -m slow

test-all: test test-slow

lint: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev.stamp
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/drawing.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/bad_photos.py $(CARSPOTTER_SHARED)/bad_photos

docs: .venv/train.stamp
	$(BIN)/python scripts/write_cli_docs.py

clean:
	rm -rf .venv demo models/demo

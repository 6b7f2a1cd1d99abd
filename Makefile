# Everything from a fresh clone: `make demo` and `make test` create .venv themselves.
# They need python3 >= 3.11 (with venv) and make, nothing else. PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
BIN := .venv/bin
CARSPOTTER_SHARED ?= ../shared/data
# One thread per test process: two processes on two cores, and the same figures everywhere.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# LOCKED=1, as in CI: exactly the files whose hashes stand in requirements.lock (Linux on x86-64, Python 3.11).
LOCKED ?=
# Faults of each kind that `make storm` brings in, and how long `make fuzz` runs on all targets together.
FAULTS ?= 200
MINUTES ?= 60

.PHONY: help demo test test-slow test-all storm fuzz lint bench docs lock audit sbom dist clean

help:
	@echo "make demo       train on drawn cars, write a submission, show where to look"
	@echo "make test       the fast tests (under 3 minutes)"
	@echo "make test-slow  the rest: whole trainings, a bare install, the real photos"
	@echo "make test-all   both"
	@echo "make storm      kills, failing disks and full memory by the hundred (FAULTS=200); needs root and strace"
	@echo "make fuzz       random damage to photos, zips, tables, recipes and cards (MINUTES=60 CORPUS=folder)"
	@echo "make lint       ruff, mypy, import layers"
	@echo "make bench      print the figures of benchmarks/"
	@echo "make docs       write docs/cli.md anew"
	@echo "make lock       write requirements.lock and requirements-base.lock anew"
	@echo "make audit      look for known vulnerabilities in what it locks; asks an index"
	@echo "make sbom       write a bill of materials of .venv"
	@echo "make dist       build the wheel and the source archive"
	@echo "make clean      remove .venv and the demo; your models and runs stay"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "carspotter needs Python 3.11 or newer; name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv

# Installed anew only when what is to be installed has changed.
ifeq ($(LOCKED),)
.venv/train.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train]"
	@touch $@

.venv/dev.stamp: .venv/train.stamp
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"  # the first that knows --group
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	@touch $@
else
.venv/train.stamp: pyproject.toml requirements.lock | .venv/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: .venv/train.stamp
	@touch $@
endif

.venv/supply.stamp: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group supply
	@touch $@

demo: .venv/train.stamp
	$(BIN)/carspotter demo

test: .venv/dev.stamp
	$(PYTEST) -n 2 -m "not slow"

test-slow: .venv/dev.stamp
	$(PYTEST) -n 2 -m slow

test-all: test test-slow

storm: .venv/dev.stamp
	CARSPOTTER_STORM=$(FAULTS) $(PYTEST) -n 2 -m storm tests/storm

fuzz: .venv/dev.stamp
	$(BIN)/python tests/fuzz/all.py --minutes $(MINUTES) --keep fuzz-found $(if $(CORPUS),--corpus $(CORPUS))

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

lock: .venv/supply.stamp
	scripts/write_lock.sh

audit: .venv/supply.stamp
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

sbom: .venv/dev.stamp
	$(BIN)/python scripts/write_sbom.py

dist: .venv/dev.stamp
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf .venv demo models/demo

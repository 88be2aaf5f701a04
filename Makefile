# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SECONDS ?= 30
# Most tests wait for real processes: twice as many at once as two cores.
JOBS ?= 4
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check lint types bench clean

demo: $(VENV)/.base
	$(BIN)/leptond demo --seconds $(SECONDS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses $(JOBS) $(PYTEST_ARGS)

check: lint types test

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench.parts
	$(BIN)/python -m tests.bench.pipeline $(BENCH_ARGS)

# Debian keeps venv in a package of its own; as root we fetch it, otherwise we say so.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq python3-venv; \
	} || { echo "Python's venv is missing; install it: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .[dev]
	@touch $@ $(VENV)/.base

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

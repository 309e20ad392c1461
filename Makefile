# Two commands on a new machine: `make quickstart` and `make test`. Both install everything first, as `make install`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Tests start some hundred processes: they must find the compiled code of the one before.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install quickstart test test-slow check docs pictures bench clean

help:
	@echo "make install      install this package and its tools into .venv"
	@echo "make quickstart   install, run and confirm a small search on digits, write its report"
	@echo "make test         install, check style and types, run the fast tests (10 minutes on 2 cores)"
	@echo "make test-slow    run the slow tests: kills, cluster faults, Slurm, load (30 minutes)"
	@echo "make check        install, check style and types"
	@echo "make docs         install, build the documentation site into site/"
	@echo "make pictures     install, take the pictures of README and docs again; needs a Chromium"
	@echo "make bench        install, run the main benchmarks and print their tables"
	@echo "make clean        remove the virtual environment; searches are kept"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v else f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=/path/to/python")'
	@echo "installing into $(VENV): takes minutes, without a line in between"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(READY)

quickstart: $(READY)
	$(BIN)/lkca-search run search_spaces/quickstart.yaml
	@echo
	$(BIN)/lkca-search best quickstart
	@echo
	$(BIN)/lkca-search report quickstart
	@echo
	@echo "read     open the report above in a browser"
	@echo "browse   $(BIN)/lkca-search ui                  all trials in MLflow, on http://127.0.0.1:5000"
	@echo "rerun    $(BIN)/lkca-search rerun quickstart    train the champion again, to the same result"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Files of tests run in parallel, in the order of tests/conftest.py. Slow tests wait for processes most of the time.
PYTEST := $(BIN)/pytest --dist loadfile --no-loadscope-reorder

test: check
	$(PYTEST) --numprocesses 2 --durations 40 -m 'not slow'

test-slow: $(READY)
	$(PYTEST) --numprocesses 4 --durations 40 -m slow $$(grep -rl --include='test_*.py' 'mark\.slow' tests)

docs: $(READY)
	$(BIN)/python -m mkdocs build --strict
	@echo "read     open site/index.html in a browser; $(BIN)/python -m mkdocs serve rebuilds it while you write"

pictures: $(READY)
	$(BIN)/lkca-search run search_spaces/quickstart.yaml
	$(BIN)/python -m documentation.pictures

bench: $(READY)
	$(BIN)/python -m benchmarks.lkca_backends
	$(BIN)/python -m benchmarks.data_loading
	$(BIN)/python -m benchmarks.data_memory
	$(BIN)/python -m benchmarks.simulated_search
	$(BIN)/python -m benchmarks.search_overhead
	$(BIN)/python -m benchmarks.large_report

clean:
	rm -rf $(VENV) site

# Two commands on a fresh machine: `make quickstart` and `make test`. Each does all the set-up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help quickstart test test-quick check bench clean

help:
	@echo "make quickstart   install, run and confirm a small search on digits, write its report"
	@echo "make test         install, check style and types, run every test"
	@echo "make test-quick   same as make test, without the slow tests"
	@echo "make check        install, check style and types"
	@echo "make bench        install, run the main benchmarks and print their tables"
	@echo "make clean        remove the virtual environment; searches are kept"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v else f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

quickstart: $(READY)
	$(BIN)/lkca-search run search_spaces/quickstart.yaml
	@echo
	$(BIN)/lkca-search best quickstart
	@echo
	$(BIN)/lkca-search report quickstart
	@echo
	@echo "read     open the report above in a browser"
	@echo "browse   $(BIN)/lkca-search ui                  all trials in MLflow, on http://127.0.0.1:5000"
	@echo "rerun    $(BIN)/lkca-search rerun quickstart    train the best trial again, to the same result"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two files of tests at once: most of the time a test waits, for a cluster to start or a process to end.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile

test: check
	$(PYTEST)

test-quick: check
	$(PYTEST) -m 'not slow'

bench: $(READY)
	$(BIN)/python -m benchmarks.lkca_backends
	$(BIN)/python -m benchmarks.data_loading
	$(BIN)/python -m benchmarks.data_memory
	$(BIN)/python -m benchmarks.simulated_search
	$(BIN)/python -m benchmarks.search_overhead
	$(BIN)/python -m benchmarks.large_report

clean:
	rm -rf $(VENV)

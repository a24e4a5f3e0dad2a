# bootserver: `make demo` shows it, `make test` checks it. Both set up all that they need, and can be run again.
.PHONY: help setup demo test test-all lint bench clean

PYTHON := .venv/bin/python

help:
	@echo "make demo      power on an unknown machine (in QEMU) and watch it become compute-0-0"
	@echo "make test      all checks and tests, 25 minutes on two cores"
	@echo "make test-all  the same with the full matrices"
	@echo "make bench     measure against other servers, on a machine that does nothing else"
	@echo "make clean     remove what these made (.venv, .cache)"

setup:
	@tools/setup

demo: setup
	@tools/as-root $(PYTHON) tools/demo.py

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy -p bootserver

# The tests of one module on each processor, those that take longest first. Each has a network of its own.
PYTEST := tools/as-root $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
TESTS := tests/e2e tests/protocol tests/unit

test: lint
	$(PYTEST) -m "not full" $(TESTS)

test-all: lint
	$(PYTEST) $(TESTS)

bench: setup
	tools/as-root $(PYTHON) bench/run.py

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

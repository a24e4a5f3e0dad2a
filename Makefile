# bootserver: `make demo` shows it, `make test` checks it. Both set up all that they need, and can be run again.
.PHONY: help setup demo test test-all lint bench clean

PYTHON := .venv/bin/python

help:
	@echo "make demo      power on an unknown machine (in QEMU) and watch it become compute-0-0"
	@echo "make test      all checks and tests, about half an hour"
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

# Tests of one module on each processor; those with sockets and guests, which wait for each other, one after the other.
test: lint
	tools/as-root $(PYTHON) -m pytest -m "not full" -n auto --dist loadfile tests/unit
	tools/as-root $(PYTHON) -m pytest -m "not full" tests/protocol tests/e2e

test-all: lint
	tools/as-root $(PYTHON) -m pytest -n auto --dist loadfile tests/unit
	tools/as-root $(PYTHON) -m pytest tests/protocol tests/e2e

bench: setup
	tools/as-root $(PYTHON) bench/run.py

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

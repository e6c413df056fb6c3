# Needs git, make and Python 3.11 or newer, nothing else. `make` alone lists the targets.
#   make PYTHON=python3.12 setup       another interpreter
#   make test ARGS="-k crop"           more arguments for pytest
PYTHON ?= python3
ARGS ?=

DEV := .venv
USE := .venv-demo
EXAMPLES = $(wildcard examples/*.jpg examples/*.png)

.PHONY: wheel help setup setup-use demo docs test test-fast lint format clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(DEV)/.stamp ## everything for development, in .venv (torch, linters, tests)
setup-use: $(USE)/.stamp ## only what using the package takes, in .venv-demo (no torch)

demo: $(USE)/.stamp ## landmarks of the pictures in examples/, drawn into demo/
	$(USE)/bin/jvcr predict $(EXAMPLES) --out demo --json --plot
	@echo "The drawn pictures and their landmarks (JSON) are in $(CURDIR)/demo"

docs: $(DEV)/.stamp ## the documentation as a site, in site/ (no network)
	$(DEV)/bin/mkdocs build --strict
	@echo "Open $(CURDIR)/site/index.html; for the search, serve it: python3 -m http.server --directory site"

test: $(DEV)/.stamp ## all tests
	$(DEV)/bin/python -m pytest $(ARGS)

test-fast: $(DEV)/.stamp ## the tests that take seconds
	$(DEV)/bin/python -m pytest -m "not slow" $(ARGS)

lint: $(DEV)/.stamp ## style, formatting and types
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

format: $(DEV)/.stamp ## apply the formatter and the safe fixes
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

wheel: $(DEV)/.stamp ## wheel and sdist in dist/, with what runs networks in browsers (npm fetches it)
	$(DEV)/bin/python -c "from jvcr.web import runtime; runtime.fetch_runtime(runtime.SHIPPED)"
	$(DEV)/bin/python -m hatchling build

clean: ## remove what building, testing and the demo left (not the environments)
	rm -rf build dist demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# No stamp, or one older than these two files: the environment is made, or brought up to date where it is.
$(DEV)/.stamp: pyproject.toml constraints.txt
	$(call environment,$(DEV))
	$(DEV)/bin/python -m pip install -q -c constraints.txt torch
	$(DEV)/bin/python -m pip install -q -c constraints.txt -e ".[all,dev]"
	@touch $@

$(USE)/.stamp: pyproject.toml constraints.txt
	$(call environment,$(USE))
	$(USE)/bin/python -m pip install -q -c constraints.txt -e .
	@touch $@

define environment
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON): name a Python, 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "jvcr needs Python 3.11 or newer; $(PYTHON) is '$$($(PYTHON) --version 2>&1)'." \
	         "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(1) || \
	  { echo "'$(PYTHON) -m venv' failed (on Debian and Ubuntu it needs the package python3-venv)." >&2; exit 1; }
	@echo "Installing into $(1): this takes a while the first time."
endef

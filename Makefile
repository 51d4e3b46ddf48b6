# The commands of this project. `make help` lists them.
#
# Each needs Python 3.9 or later (make check: 3.10), and installs the rest into .venv.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do \
	"$$python" -c 'import sqlite3, sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null \
	&& command -v "$$python" && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet

# make test DB=postgresql ARGS="-k claim"
DB ?=
ARGS ?=

# make soak MINUTES=30 DB=mariadb SEED=42
MINUTES ?= 10
SEED ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-doors test-faults soak test-matrix check format bench bench-rivals clean
.PHONY: check-format check-lint check-types check-imports check-migrations check-docs

help:  ## list these commands
	@awk '/^[a-z-]+:.*##/ { name = $$0; sub(/:.*/, "", name); sub(/.*##  */, ""); printf "  make %-12s %s\n", name, $$0 }' $(MAKEFILE_LIST)

run: $(VENV)/.run  ## see it work: the example fills an SQLite file with jobs and runs them
	@$(BIN)/python -m example $(ARGS)

test: $(VENV)/.test  ## run all tests on every database; DB=sqlite|postgresql|mariadb, ARGS="-k word"
	@$(BIN)/python -m tests.suite $(DB) -- $(ARGS)
	@$(if $(DB)$(ARGS),,$(BIN)/python -m tests.matrix --doors)

test-doors: $(VENV)/.test  ## the tests of Django's Tasks API on Django 6.0 and 6.1; DB= as above
	@$(BIN)/python -m tests.matrix --doors $(DB)

test-faults: $(VENV)/.test  ## all scenarios of tests/faults, the long ones too; DB= and ARGS= as above
	@$(BIN)/python -m tests.suite --faults $(DB) -- tests/faults -m "" $(ARGS)

soak: $(VENV)/.test  ## faults at random, then a table: MINUTES=10, SEED=, DB=postgresql if not given
	@$(BIN)/python -m tests.faults.soak $(or $(DB),postgresql) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

test-matrix:  ## run all tests on Python 3.9/Django 4.2 … 3.13/6.1; DB= as above, sqlite if not given
	@$(PYTHON) -m tests.matrix $(DB) -- $(ARGS)

check: check-format check-lint check-types check-imports check-migrations check-docs  ## format, lint, types, import contracts, migrations, docs
	@echo "make check: all good"

check-format: $(VENV)/.check
	$(BIN)/ruff format --check .

check-lint: $(VENV)/.check
	$(BIN)/ruff check .

check-types: $(VENV)/.check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

check-imports: $(VENV)/.check
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture

check-migrations: $(VENV)/.check
	$(BIN)/python manage.py makemigrations --check --dry-run

check-docs: $(VENV)/.check
	$(BIN)/python -m pytest -q tests/docs

format: $(VENV)/.check  ## format the code, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test  ## measure: claim, acknowledge, enqueue, end to end
	@$(BIN)/python -m benchmarks $(ARGS)

bench-rivals: $(VENV)/.test  ## measure other queues beside ours; ARGS="--only pgqueuer,celery_redis"
	@$(BIN)/python -m benchmarks.rivals $(ARGS)

clean:  ## remove everything that these commands made
	rm -rf .venv .venv-* .bench-rivals build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed. A stamp is older than pyproject.toml when something else is wanted.

$(VENV)/.made:
	@echo "Making a virtual environment in $(VENV)"
	@.ci/venv "$(PYTHON)" $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml
	@echo "Installing django-db-queue into $(VENV)"
	@$(PIP) --editable .
	@touch $@

# Not every platform has the wheels of the throw-away PostgreSQL and of the browser's driver.
$(VENV)/.test: $(VENV)/.made pyproject.toml
	@echo "Installing what the tests need into $(VENV)"
	@$(PIP) --editable '.[test,test-postgres,test-browser]' \
	|| { $(PIP) --editable '.[test]'; $(PIP) --editable '.[test-postgres]'; $(PIP) --editable '.[test-browser]'; true; }
	@touch $@ $(VENV)/.run

$(VENV)/.check: $(VENV)/.test
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 10) and "make check needs Python 3.10 or later: make clean, then make check PYTHON=…")'
	@echo "Installing what make check needs into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@

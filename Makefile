# Every target sets the clone up by itself: git, make and Python 3.11+ with venv are all it needs.
# Nothing is installed system-wide.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash
BIN := .venv/bin
READY := .venv/.ready
QUICK := not slow
TRANSPORT ?= sqlite

.PHONY: help demo test check format docs bench proof lint types layers tests site lowest clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## kill a worker in the middle of a workflow; TRANSPORT=redis, rabbitmq or nats: on that broker
	@PYTHONPATH=tests $(BIN)/python -m rig $(TRANSPORT) -- $(BIN)/python docs/examples/onboarding/demo.py

test: lint types layers tests site lowest ## every gate, as on a submission
	@echo "make test: all gates passed"

check: lint $(READY) ## the quick loop: style, mypy, layers, fast tests
	@echo "== mypy"
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory layers
	@echo "== fast tests: the core, and the runtime in memory; the rest is for make test"
	@$(BIN)/pytest tests/core tests/plugins tests/agents tests/packaging -q -n 2 -m "$(QUICK)"
	@$(BIN)/pytest tests/runtime -q -n 4 -m "$(QUICK)" -k "not sqlite"

format: $(READY) ## rewrite the code in the house style
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format

docs: site ## build the documentation into site/

bench: $(READY) ## measure, as ratios within one run
	@for file in tests/benchmarks/bench_*.py; do echo "== $$file"; XDG_STATE_HOME="$(CURDIR)/build/state" $(BIN)/python "$$file" || exit 1; done

proof: $(READY) ## the heavy proofs in full (an hour or two); PROOF_SEED=N repeats one
	@PROOF=1 $(BIN)/pytest tests/chaos -n 2 --dist loadgroup --timeout 1800; status=$$?; \
	$(BIN)/python -m tests.chaos.brokers.report; exit $$status

lint: $(READY)
	@echo "== style: ruff"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(READY)
	@echo "== types: mypy, pyright"
	@$(BIN)/mypy
	@$(BIN)/pyright

layers: $(READY)
	@echo "== layers: import-linter"
	@$(BIN)/lint-imports

tests: $(READY)
	@echo "== tests, documentation examples, wheels in clean environments"
	@$(BIN)/pytest tests -n 4 --dist loadgroup

site: $(READY)
	@echo "== documentation site"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lowest: $(READY)
	@echo "== the core with the lowest versions it allows"
	@tools/lowest.sh

clean: ## remove everything that the targets made
	rm -rf .venv .uv site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): uv.lock pyproject.toml paigeant-core/pyproject.toml tools/setup.sh
	@tools/setup.sh

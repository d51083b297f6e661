# Two commands matter: `make demo` runs the main job, `make test` the tests. Both set up their own .venv first.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_DIR ?= build/demo
DEMO_ARGS ?=
SIM_SEEDS ?= 500
SIM_DIR ?= build/simulation
COMMANDS := build/commands
# Tests and demo start nodes and commands by the hundred: compiled once, whatever the environment says, not by each of them.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-sabotage test lint sim sim-deep e2e e2e-deep commands interop deep mutants reference dist clean

help: ## what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 24

setup: $(STAMP) ## the virtual environment, from the pinned constraints

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Huzhu needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt install python3-venv" >&2; exit 1; }
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## five processes settle Xiang Hu Bao's half-months, then the slow oracle recomputes every figure
	$(BIN)/huzhu demo --dir $(DEMO_DIR) $(DEMO_ARGS)
	$(BIN)/python -m tests.reference.audit $(DEMO_DIR)

demo-sabotage: $(STAMP) ## alter one byte of a block, one bill, one account: the audit must fail each time
	$(BIN)/python -m tests.reference.sabotage $(DEMO_DIR)

test: $(STAMP) ## unit and property tests
	COMMANDS_RUN=$(COMMANDS)/test.jsonl $(BIN)/python -m pytest -n auto tests --ignore=tests/simulator

lint: $(STAMP) ## ruff format and check, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

sim: $(STAMP) ## seeded simulation of whole networks: 500 seeds, every rare path reached, seeded bugs caught
	COMMANDS_RUN=$(COMMANDS)/sim.jsonl $(BIN)/python -m pytest -n auto tests/simulator
	$(BIN)/huzhu simulate --seeds 0..$$(($(SIM_SEEDS) - 1))

sim-deep: $(STAMP) ## hours: 50,000 seeds, every boundary, every twin; stop and start it as you like
	@mkdir -p $(SIM_DIR)
	$(BIN)/huzhu simulate --scenario boundaries --resume $(SIM_DIR)/boundaries.jsonl
	$(BIN)/huzhu simulate --scenario healing --resume $(SIM_DIR)/healing.jsonl
	$(BIN)/huzhu simulate --twins 5 --resume $(SIM_DIR)/twins.jsonl
	$(BIN)/huzhu simulate --twins 3 --twins-network lagging --resume $(SIM_DIR)/twins-lagging.jsonl
	$(BIN)/huzhu simulate --twins 3 --twins-network late --resume $(SIM_DIR)/twins-late.jsonl
	$(BIN)/huzhu simulate --twins 2 --twins-network fine --resume $(SIM_DIR)/twins-fine.jsonl
	$(BIN)/huzhu simulate --seeds 0..49999 --resume $(SIM_DIR)/seeds.jsonl

e2e: $(STAMP) ## real processes: a short demo, kill -9, pauses, cuts, full disks, rubbish input
	COMMANDS_RUN=$(COMMANDS)/e2e.jsonl $(BIN)/python -m pytest tests/e2e -m e2e -x

e2e-deep: $(STAMP) ## more of that, and longer: what docs/e2e-deep.md records
	$(BIN)/python -m pytest tests/e2e -m e2e_deep

commands: $(STAMP) ## after test, sim and e2e: these have run every command to its success and to a failure
	$(BIN)/python -m tests.commands_run $(COMMANDS)/test.jsonl $(COMMANDS)/sim.jsonl $(COMMANDS)/e2e.jsonl

interop: $(STAMP) ## public verifiers and tools against our formats
	$(BIN)/python -m pytest tests/interop -m interop -x

deep: $(STAMP) ## ten thousand random lives of members and claims against the slow oracle; goes on where it stopped
	$(BIN)/python -m tests.ledger.deep_lives

mutants: $(STAMP) ## small wrong changes to the rules: each must fail a test or be explained; goes on where it stopped
	$(BIN)/python -m bench.mutants

reference: $(STAMP) ## docs/reference, docs/claims.md and configs/node.toml, made from the program
	$(BIN)/python -m cli.reference

dist: $(STAMP) ## wheel and source distribution in dist/, with the commit they were made from
	@rm -rf dist build/lib build/bdist.*
	@git rev-parse HEAD > cli/commit.txt
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check 'setuptools>=77'
	@$(BIN)/python -c "from setuptools.build_meta import build_sdist, build_wheel; build_sdist('dist'); build_wheel('dist')" >/dev/null; \
		code=$$?; rm -f cli/commit.txt; exit $$code
	@ls -l dist

clean: ## everything that was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# make demo and make test are all a new clone needs: they make .venv and install what they use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Seconds for one test on a busy machine: what hangs fails, and the others go on.
export PYTEST_TIMEOUT := 240
# pytest rewrites the assertions of each module in each of its processes, unless it may keep them from the run before.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: rewritten help browser man pictures demo lint types unit test deep bench bench-million bench-readme bench-pace bench-random bench-smoke docs torture torture-short soak real scale bench-scale frames live clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@$(BIN)/python -m compileall -q llmbatch  # as pip does, unless it is editable
	@touch $@

$(VENV)/installed-unit: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[unit]'
	@touch $@

TORCH ?= torch
.venv-real/installed: pyproject.toml
	$(PYTHON) -m venv .venv-real
	.venv-real/bin/pip install --quiet --disable-pip-version-check "$(TORCH)" --editable '.[real]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

DEMO := $(BIN)/llmbatch run samples/prompts.jsonl samples/no-prompt.jsonl -p mock -o results.jsonl --rpm 4800
demo: $(VENV)/installed  ## 240 prompts over real HTTP to the built-in mock provider: stopped, continued, one fails
	@# paced, so that there is progress to watch: the mock answers at once
	@echo '# A run that is stopped after a second: exit code 5, to be continued.'
	$(DEMO) --overwrite --deadline 1s || test $$? = 5
	@echo '# The same again sends the rest. One record has no prompt, hence exit code 1.'
	$(DEMO) --price 0.25,2 || test $$? = 1
	@echo '# The first answers in results.jsonl:'
	@grep '"status":"ok"' results.jsonl | head -n 3 | $(BIN)/python -c 'import json, sys; [print(" ", r["id"], r["text"]) for r in map(json.loads, sys.stdin)]'

lint: $(VENV)/installed-dev  ## style and mistakes, by ruff
	$(BIN)/ruff check llmbatch tests
	$(BIN)/ruff format --check llmbatch tests

types: $(VENV)/installed-dev  ## types, by mypy
	$(BIN)/mypy

UNIT := app cli codec core dialects input options pacing parts results
unit: $(VENV)/installed-unit  ## the quick half of the tests: no process, no network
	$(BIN)/pytest -n 2 $(UNIT:%=tests/%) tests/engine/test_dispatch.py

test: lint  ## lint, types and all tests
	@$(MAKE) --no-print-directory --jobs 2 types rewritten
	$(BIN)/pytest -n 4 --dist worksteal  # more than two cores: many tests wait for other processes

rewritten: $(VENV)/installed-dev
	@# In a new clone one process rewrites the assertions of all tests, so that four need not do so at a time.
	@test -d tests/__pycache__ || $(BIN)/pytest --collect-only -qq > /dev/null

deep: $(VENV)/installed-dev  ## all cases and examples of the tests, all commands as new processes
	LLMBATCH_TEST_DEEP=1 $(BIN)/pytest -n 4 --dist worksteal

bench: $(VENV)/installed-dev  ## what it costs, beside its peers: 10 minutes; needs nginx with its echo module
	$(BIN)/python -m tests.bench

bench-million: $(VENV)/installed-dev  ## a million records: memory, and how soon they are continued
	$(BIN)/python -m tests.bench million batches --json build/bench-million.json

bench-readme: $(VENV)/installed-dev  ## write what these two measured into the pages of help
	$(BIN)/python -m tests.bench --readme build/bench.json build/bench-million.json

bench-smoke: $(VENV)/installed-dev  ## the shape of the cost, by counts: a part of make test
	$(BIN)/pytest tests/bench

bench-pace: $(VENV)/installed-dev  ## jobs on services as they are, beside a fixed number and the openai client: 15 minutes; FLAGS=--full
	$(BIN)/python -m tests.bench.pace $(FLAGS)

bench-random: $(VENV)/installed-dev  ## services composed at random, beside the best number for each: a minute; FLAGS='--first 1000'
	$(BIN)/python -m tests.bench.random_services $(FLAGS)

docs: $(VENV)/installed-dev  ## write the tables of the pages of help and the map of modules
	$(BIN)/python -m tests.docs

browser: $(VENV)/installed-dev  ## open the report's pages in Chromium, check them, take pictures into build/pictures
	$(BIN)/python -m tests.browser

man: $(VENV)/installed  ## write the man page to build/llmbatch.1; man -l shows it
	@mkdir -p build
	$(BIN)/llmbatch help --man > build/llmbatch.1

pictures: $(VENV)/installed-dev  ## draw a run as it looks on a terminal
	$(BIN)/python -m tests.pictures

torture: $(VENV)/installed-dev  ## a thousand kills, and what they cost
	$(BIN)/python -m tests.torture

torture-short: $(VENV)/installed-dev  ## a hundred kills of live runs
	$(BIN)/python -m tests.torture --kills 100 --seed 1 --no-batches

soak: $(VENV)/installed-dev  ## minutes of faults, limits and kills, then the books: MINUTES=5
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),5)

real: $(VENV)/installed-dev .venv-real/installed  ## tiny models in llama.cpp's server and in transformers serve; a CPU build: TORCH=torch==...+cpu
	$(BIN)/pytest -v tests/real/llama_cpp_server.py tests/real/transformers_serve.py

live: $(VENV)/installed-dev  ## five records through the batch APIs whose keys are here: a few cents, up to a day
	$(BIN)/python -m tests.live

.venv-scale/installed: pyproject.toml
	$(PYTHON) -m venv .venv-scale
	.venv-scale/bin/pip install --quiet --disable-pip-version-check --editable '.[scale]'
	@touch $@

scale: .venv-scale/installed  ## workers, limits and a Ray cluster of two nodes on this machine; some are killed: 3 minutes
	.venv-scale/bin/pytest -v -n 4 --dist loadgroup -o filterwarnings=default tests/scale/*.py

bench-scale: .venv-scale/installed $(VENV)/installed-dev  ## the stage for Ray Data beside ray.data.llm, FLAGS=--readme writes its table into the page of help; parts beside one FILE
	.venv-scale/bin/python -m tests.bench.ray_stages $(FLAGS)
	$(BIN)/python -m tests.bench.parts

.venv-frames/installed: pyproject.toml
	$(PYTHON) -m venv .venv-frames
	.venv-frames/bin/pip install --quiet --disable-pip-version-check --editable '.[frames,parquet]' hypothesis pytest pytest-timeout
	@touch $@

frames: .venv-frames/installed  ## tables of pandas, polars and datasets, and a cell of a notebook
	.venv-frames/bin/pytest -v tests/frames/data_frames.py

clean:  ## remove what the other targets made
	rm -rf .venv .venv-frames .venv-real .venv-scale results.jsonl results.jsonl.state .pytest_cache .mypy_cache .ruff_cache .hypothesis

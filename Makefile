# Everything a person does with a clone. Needs Python 3.11 or newer and make; installs the rest
# into .venv, from lock files with hashes.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where Python is told to write no bytecode, as in many containers, each of the hundreds of processes
# that tests start would compile Heori anew: a sixth of the time.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: install
install: .venv/installed ## make .venv with heori in it

.PHONY: run
run: .venv/installed ## see it work: embedded Valkey, a producer, a consumer, a live view
	@$(BIN)/heori up $(ARGS)

# Four for each core, as tests wait for processes most of the time.
WORKERS = $(shell expr $$(nproc 2>/dev/null || echo 2) '*' 4)

.PHONY: test
test: .venv/installed-dev ## run the tests, side by side; with ARGS="-k word", some in one process
	@$(MAKE) --no-print-directory --jobs 3 ready-to-test
	$(BIN)/pytest $(or $(ARGS),-n $(WORKERS) --dist loadgroup --no-loadscope-reorder)

# At the same time, as each has one core and the network at most.
.PHONY: ready-to-test
ready-to-test: .venv/compiled tests/grafana/schema/node_modules tests/packaging/pyright/node_modules

# Producers, consumers, locks, the protocol and every command. An old library may warn of what a new
# one of its own dependencies has deprecated.
OLDEST = tests/cli/test_help.py tests/common tests/consumer/test_models.py tests/locks/test_locks.py \
	tests/producer tests/protocol tests/redis tests/rq

.PHONY: test-oldest
test-oldest: .venv-oldest/installed ## try the lowest of each dependency that pyproject.toml allows
	.venv-oldest/bin/pytest -n $(WORKERS) --dist loadfile -W ignore::DeprecationWarning $(or $(ARGS),$(OLDEST))

.PHONY: test-mac
test-mac: .venv/installed-dev ## run jobs in every model, and locks, without what Linux alone has
	HEORI_TEST_MAC=1 $(BIN)/pytest tests/packaging/test_platforms.py $(ARGS)

.PHONY: test-rq-suite
test-rq-suite: .venv/installed-dev ## rq's own tests, downloaded, with Heori's worker classes in rq's place
	HEORI_TEST_RQ_SUITE=1 $(BIN)/pytest tests/rq/test_suite.py tests/rq/test_frameworks.py $(ARGS)

.PHONY: test-django-suite
test-django-suite: .venv/installed-dev ## Django's own tests of task backends, downloaded, with Heori's backend
	HEORI_TEST_DJANGO_SUITE=1 $(BIN)/pytest tests/frameworks/test_suite.py $(ARGS)

.PHONY: test-rq-versions
test-rq-versions: .venv/installed-dev ## the tests with rq 2.6 and 2.12, downloaded, in place of rq 3.0
	HEORI_TEST_RQ_VERSIONS=1 $(BIN)/pytest tests/rq/test_versions.py $(ARGS)

.PHONY: test-compose
test-compose: .venv/installed-dev ## try compose.yaml on a real Docker engine; HEORI_LONG=1 for longer
	@tests/compose/engine.sh
	@HEORI_TEST_COMPOSE=1 $(BIN)/pytest tests/compose $(ARGS)

.PHONY: test-page
test-page: .venv/installed-dev ## try the page in Chromium, which Debian installs where there is none
	@command -v chromium chromium-browser google-chrome >/dev/null || { test "$$(id -u)" = 0 && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
		--no-install-recommends chromium fonts-noto-cjk >/dev/null; } || \
		{ echo "There is no Chromium, and only root may install one."; exit 1; }
	HEORI_TEST_PAGE=1 $(BIN)/pytest tests/browser $(ARGS)

.PHONY: lint
lint: .venv/installed-dev ## format check, ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: bench
bench: .venv-bench/installed ## measure, side by side with peers; BENCH_PYTHON=python3.13 has most of them
	@.venv-bench/bin/python -m benchmarks $(ARGS)

.PHONY: chaos
chaos: .venv/installed-dev ## kill, pause, crash and drain consumers, count jobs; ARGS="--help" tells more
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: mutants
mutants: .venv/installed-dev ## remove each guard from the locks' scripts in turn: a test must fail
	@$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: lab
lab: .venv/installed-dev ## which execution model to choose: all of them measured on this machine, six minutes
	@$(BIN)/heori lab models $(ARGS)

.PHONY: notes
notes: .venv/installed-dev ## see the notes on processes, threads, the GIL and locks happen: nine experiments, two minutes
	@$(BIN)/heori lab notes $(ARGS)

.PHONY: dashboards
dashboards: .venv/installed-dev ## write the Grafana dashboards anew, after a change in grafana/
	$(BIN)/python -m grafana

.PHONY: docs
docs: .venv/installed-dev ## build the documentation into site/; a dead link fails
	@$(BIN)/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: docs-figures
docs-figures: .venv/installed-dev ## renew the pictures of the notes, in five minutes on a quiet machine
	@$(BIN)/python docs/figures.py $(ARGS)

.PHONY: auto-chart
auto-chart: .venv/installed-dev ## draw where auto went; ARGS=FILE from what bench ARGS="auto-short --json FILE" wrote
	@$(BIN)/python docs/auto_chart.py $(ARGS)

JOBS ?= 1000000

.PHONY: soak
soak: .venv/installed-dev ## run JOBS=1000000 jobs, watch memory and keys
	@$(BIN)/python -m tests.chaos soak --jobs $(JOBS) $(ARGS)

.PHONY: lock
lock: .venv/installed-dev ## renew the lock files
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade --no-header \
		--python-version 3.11 pyproject.toml --extra serve --group build -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade --no-header \
		--python-version 3.11 --group embedded -c requirements.lock -o requirements-embedded.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade --no-header \
		--python-version 3.11 pyproject.toml --extra serve --group dev -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade --no-header \
		--python-version 3.11 pyproject.toml --group bench -c requirements.lock -o requirements-bench.lock

.PHONY: clean
clean: ## remove .venv and its like, node_modules and caches
	rm -rf .venv .venv-bench .venv-oldest site tests/grafana/schema/node_modules tests/packaging/pyright/node_modules .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
	find benchmarks common consumer grafana heori producer tests -name __pycache__ -prune -exec rm -r {} +

.venv/python .venv-oldest/python $(if $(BENCH_PYTHON),,.venv-bench/python):
	@test -n "$(PYTHON)" || { echo "Heori needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(@D)
	@touch $@

.venv/installed: .venv/python requirements.lock requirements-embedded.lock pyproject.toml
	@echo "Installing into .venv (half a minute, once) …"
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock -r requirements-embedded.lock
	@$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	@echo "Installing what tests and checks need …"
	@$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

# Else each of the processes that run tests would do so, all at the same time.
.venv/compiled: .venv/installed-dev
	@echo "Compiling the tests …"
	@$(BIN)/pytest --collect-only -qq >/dev/null && touch $@

.venv-oldest/installed: .venv-oldest/python .venv/installed-dev pyproject.toml
	@echo "Installing the lowest of each dependency into .venv-oldest …"
	@$(BIN)/pip install --quiet uv
	@VIRTUAL_ENV=$(@D) $(BIN)/uv pip install --quiet --resolution lowest-direct --group test --editable ".[serve]"
	@touch $@

# Grafana's own types, to check the dashboards against; without them, that one test is skipped.
tests/grafana/schema/node_modules: tests/grafana/schema/package-lock.json
	@npm ci --silent --prefix $(@D) && touch $@ || echo "npm is not there or could not install: the types of the dashboards will not be checked"

# A second type checker, for an application against the wheel; without it, that test is skipped.
tests/packaging/pyright/node_modules: tests/packaging/pyright/package-lock.json
	@npm ci --silent --prefix $(@D) && touch $@ || echo "npm is not there or could not install: pyright will check nothing"

# Some peers need Python 3.13. Where another one is asked for than made .venv-bench, that is made
# anew; where none is, it stays.
ifdef BENCH_PYTHON
.PHONY: bench-python
.venv-bench/python: bench-python
	@test "$$(cat $@ 2>/dev/null)" = "$(BENCH_PYTHON)" || { rm -rf $(@D) && \
		$(BENCH_PYTHON) -m venv $(@D) && echo "$(BENCH_PYTHON)" >$@; }
endif

# The peers have a .venv of their own: they are nothing that Heori or its tests should see.
.venv-bench/installed: .venv-bench/python requirements.lock requirements-bench.lock pyproject.toml
	@echo "Installing Heori and its peers into .venv-bench …"
	@.venv-bench/bin/pip install --quiet --require-hashes -r requirements.lock
	@.venv-bench/bin/pip install --quiet --require-hashes -r requirements-bench.lock
	@.venv-bench/bin/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

# Everything one does with a clone. Needs Python >= 3.11 and make; what else a target uses, it asks for by name.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
# Who has no home to write to keeps nothing of what is downloaded.
UV = $(BIN)/uv $(shell [ -n "$$UV_CACHE_DIR$$XDG_CACHE_HOME" ] || { mkdir -p "$$HOME/.cache" && [ -w "$$HOME/.cache" ]; } 2>/dev/null || echo --no-cache)
READY := .venv/ready
WORKERS ?= 2
KAFKA_DATA := build/kafka
KAFKA_PORT ?= 9092
# Container images like to set it. Each of the many processes of one run would then compile anew all that it imports:
# half of what a start costs. What Python keeps is ignored by git, and removed by `make clean`.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env run demo test test-fast lint docs bench judge kafka kafka-stop chaos lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY) ## make .venv from requirements.lock (done by itself by all that need it)

run: $(READY) ## Daymark on this machine, at port DAYMARK_PORT (8080)
	@$(BIN)/daymark up

demo: $(READY) ## the same with a story: four days of three products, up to now
	@$(BIN)/daymark demo

test: $(READY) ## all tests, on the real servers that can be had; ARGS=... goes to pytest
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

test-fast: $(READY) ## the tests that start no other program
	@$(BIN)/python -m pytest tests/unit -n $(WORKERS) --dist loadgroup $(ARGS)

lint: $(READY) ## ruff and mypy, as pre-commit runs them
	@found=0; \
	$(BIN)/ruff check . || found=1; \
	$(BIN)/ruff format --check . || found=1; \
	$(BIN)/mypy . || found=1; \
	exit $$found

docs: $(READY) ## write docs/events and the state pictures from code; refuses to break an event
	@$(BIN)/python -m cli.docs

bench: $(READY) ## measure against bare limits, write build/bench.json; ONLY=name for one
	@$(BIN)/python -m tests.bench $(ONLY)

judge: $(READY) ## score the judge on real data (../shared/judge or DAYMARK_JUDGE_DATA); ARGS=--history 7 goes to the scorer
	@data="$${DAYMARK_JUDGE_DATA:-../shared/judge}"; \
	test -e "$$data/score.py" || { echo "the data is not here: put it at ../shared/judge or name it in DAYMARK_JUDGE_DATA" >&2; exit 1; }; \
	OMP_NUM_THREADS=1 $(BIN)/python "$$data/score.py" --part "$$data/dev" --judge tests/judge/candidate.py:judge $(ARGS)

kafka: ## a single-node Apache Kafka until Ctrl-C, needs Java 17 and Maven; prints the DAYMARK_BUS_URL to use
	@mkdir -p $(KAFKA_DATA)
	@deploy/kafka/kafka.sh run $(KAFKA_DATA) $(KAFKA_PORT) | sed -u 's|^|DAYMARK_BUS_URL=kafka://|'

kafka-stop: ## end that Kafka from another terminal
	@deploy/kafka/kafka.sh stop $(KAFKA_DATA)

chaos: $(READY) ## kill -9 and worse, at ten times the load of `make test`
	@DAYMARK_TEST_CRS=300 DAYMARK_TEST_TIMERS=100000 $(BIN)/python -m pytest -m chaos -o faulthandler_timeout=3600 $(ARGS)

lock: $(READY) ## solve the dependencies of pyproject.toml anew into requirements.lock
	@$(UV) lock --upgrade --quiet
	@$(UV) export --all-extras --all-groups --no-emit-project --format requirements-txt --no-header --no-annotate \
		--quiet --output-file requirements.lock

clean: ## remove what was built or cached here; data and .venv stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The lock says exactly what is installed, by hash; then the project itself, editable and without any network.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Daymark needs Python 3.11 or newer: $$($(PYTHON) --version 2>&1). Choose one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make environments: install its venv package (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Making .venv from requirements.lock ..."
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Each target is a short call of a tool that you can type yourself: see README.md.
.DEFAULT_GOAL := help
.PHONY: help run test chaos foreign-test workers-test wheel-test quality tune bench up down lint format secrets stack stack-deliver stack-test stack-down chart-test clean

UV := scripts/uv
PYTHONS := $(shell sed -n 's/^requires-python = "\([^"]*\)".*/\1/p' pyproject.toml)
export UV_ENV_FILE := local.env
export UV_FROZEN := 1

# Whoever has an Airflow of their own exports its home, which would win over local.env.
run up down clean: export AIRFLOW_HOME := $(CURDIR)/.airflow

# Compiled once here: a stage's imports take two to three times as long without.
.venv/synced: uv.lock pyproject.toml
	@UV_COMPILE_BYTECODE=1 $(UV) sync || { \
	  $(UV) python find "$(PYTHONS)" >/dev/null 2>&1 && exit 1; \
	  echo "error: this machine has no Python $(PYTHONS)" >&2; \
	  echo "  next: install one (Debian 12: apt-get install python3.11)," >&2; \
	  echo "  or let uv fetch one: UV_PYTHON_DOWNLOADS=automatic make $(MAKECMDGOALS)" >&2; exit 1; }
	@$(UV) run python -m compileall -q housing dags plugins stages
	@touch $@

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: .venv/synced ## set everything up, run the pipeline once, show what it did
	@$(UV) run housing run

test: .venv/synced ## run the whole test suite
	@# A file stays on one worker: what its tests share is made once.
	@$(UV) run pytest -n auto --dist loadfile --no-loadscope-reorder

chaos: .venv/synced ## kill stages at random through a real scheduler, 100 times (some 20 minutes)
	@PYTHONPATH=benchmarks $(UV) run python -m tests.chaos

wheel-test: .venv/synced ## prove the engine's wheel in an empty environment: [AIRFLOW=3.1]
	@$(UV) run python -m tests.wheel $(AIRFLOW)

foreign-test: .venv/synced ## run three other repositories through a real scheduler, every way (some 5 minutes)
	@PYTHONPATH=benchmarks $(UV) run python -m tests.foreign_scheduler

quality: .venv/synced ## measure the candidates on published and harder splits (some 3 minutes)
	@$(UV) run python benchmarks/quality.py

tune: .venv/synced ## look for better settings: [CANDIDATE=neighbours] [TRIALS=30] (some 10 minutes)
	@$(UV) run --group tune python scripts/tune.py $(or $(CANDIDATE),neighbours) --trials $(or $(TRIALS),30)

# An environment of its own: a package of its group must not change what .venv has.
workers-test: export UV_PROJECT_ENVIRONMENT := .tools/workers
workers-test: export UV_COMPILE_BYTECODE := 1
workers-test: ## prove two workers that share no folder (Linux, root, redis-server, postgresql; 15 minutes): [PARTS=figures]
	@$(UV) run --group workers python -m tests.workers $(PARTS)

bench: .venv/synced ## run the approaches side by side (two hours, and nothing else may run): [REPEATS=5]
	@$(UV) run python benchmarks/compare_days.py $(REPEATS)
	@$(UV) run python benchmarks/compare_branches.py $(REPEATS)
	@$(UV) run python benchmarks/compare_chain.py $(REPEATS)
	@$(UV) run python benchmarks/cold_run.py $(REPEATS)
	@$(UV) run python benchmarks/growth.py
	@$(UV) run python benchmarks/report.py

# The DAGs of benchmarks/approaches, beside those of dags/.
ifdef APPROACHES
BUNDLE := airflow.dag_processing.bundles.local.LocalDagBundle
export AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST := [\
  {"name": "dags-folder", "classpath": "$(BUNDLE)", "kwargs": {}}, {"name": "approaches", \
  "classpath": "$(BUNDLE)", "kwargs": {"path": "$(CURDIR)/benchmarks/approaches"}}]
endif

# How long the scheduler sleeps between two looks: docs/stages.md has the price of each choice.
SLEEP_quick := 0.03
SLEEP_calm := 0.1
SLEEP_idle := 1
ifeq ($(origin SCHEDULER),command line)
ifndef SLEEP_$(SCHEDULER)
$(error SCHEDULER is $(SCHEDULER), which is none of quick, calm, idle: make up SCHEDULER=idle)
endif
export AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME := $(SLEEP_$(SCHEDULER))
endif

up: .venv/synced ## start Airflow and MLflow: [AIRFLOW_PORT=8080] [MLFLOW_PORT=5000] [SCHEDULER=idle] [APPROACHES=1]
	@$(UV) run housing up

down: .venv/synced ## stop what `make up` started
	@$(UV) run housing down

lint: .venv/synced ## check style, types and import layers
	@$(UV) run ruff check
	@$(UV) run ruff format --check
	@$(UV) run mypy
	@$(UV) run lint-imports
	@$(UV) run shellcheck .ci/run docker/*.sh scripts/backup scripts/restore scripts/secrets scripts/tidy-cache scripts/uv
	@$(UV) run hadolint Dockerfile

format: .venv/synced ## lay the code out
	@$(UV) run ruff format
	@$(UV) run ruff check --fix

# --- the stack: docs/stack.md ---
COMPOSE := $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
export HOUSING_REVISION = $(shell git rev-parse HEAD)

secrets: ## write .env with generated passwords and keys for the stack
	@scripts/secrets

stack: ## build the image, start the whole system in Docker: [SCHEDULER=idle]
	@$(COMPOSE) up -d --build || { $(COMPOSE) logs --no-color --tail=5 init; exit 1; }
	@$(COMPOSE) ps

stack-deliver: ## deliver a file into the running stack: make stack-deliver FILE=houses.csv
	@$(COMPOSE) exec -T airflow-scheduler sh -c \
		'cd "$$(mktemp -d)" && cat >"$$0" && housing deliver "$$0"' "$(notdir $(FILE))" <"$(FILE)"

stack-test: .venv/synced ## prove the stack (Docker, some 30 minutes): [STOPS=1] graceful stops
	@$(UV) run python -m tests.stack $(STOPS)

chart-test: .venv/synced ## check deploy/kubernetes against the schema of Airflow's Helm chart (from the network)
	@$(UV) run python -m tests.chart

stack-down: ## stop the stack; its volumes keep everything
	@$(COMPOSE) --profile celery --profile workers --profile test down

clean: ## remove what the targets made, but not DVC's cache and not MLflow's store
	@[ ! -x .venv/bin/housing ] || $(UV) run housing down
	rm -rf .venv .airflow .housing .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis

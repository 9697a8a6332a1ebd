.DEFAULT_GOAL := help
.PHONY: help setup demo stop test bench lint format requirements

BIN := .venv/bin

help:
	@echo "make demo              back up a demo database in Airflow, prove it by restoring, leave Airflow running"
	@echo "make demo ONCE=1       the same, and stop Airflow at the end"
	@echo "make stop              stop the Airflow that make demo left running"
	@echo "make test              every test (PYTEST_ARGS=... goes to pytest)"
	@echo "make bench             time backups against what people type today; rewrites benchmarks/README.md (FULL=1, ONLY=section)"
	@echo "make lint              formatting, lint, types, layers"
	@echo "make format            put the formatting right"
	@echo "make setup             system packages, .venv and Python packages: what all of these share"
	@echo "make requirements      compile requirements.in into the pinned requirements.txt"

setup:
	@sh scripts/setup.sh

demo: setup
	@$(BIN)/python -m scripts.demo $(if $(filter-out 0 no false,$(ONCE)),--once)

stop:
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m scripts.demo --stop; else echo "Nothing is running."; fi

# Two at a time, each with servers of its own: a file's tests stay together. In the order of their names, for the files
# of few tests are the slow ones: at the end they would leave one of the two without work.
test: setup
	@sh scripts/setup_azurite.sh
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

bench:
	@sh scripts/setup.sh benchmarks/packages.txt
	@PYTHONPATH=.:plugins:tests $(BIN)/python -m benchmarks $(if $(filter-out 0 no false,$(FULL)),--full) $(if $(ONLY),--only $(ONLY))

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

requirements: setup
	$(BIN)/python scripts/setup_venv.py compile

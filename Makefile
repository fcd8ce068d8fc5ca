# Two commands a newcomer needs: `make demo` and `make test`.
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Every process of a test run reads the same modules: compiled once, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-fast check bench torture lock clean

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml
	$(PY) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.txt
	touch $@

lock:
	uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-header requirements/runtime.in -o requirements/runtime.txt
	uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-header requirements/dev.in -o requirements/dev.txt

demo: $(VENV)/.runtime
	$(BIN)/opportune demo

test: $(VENV)/.dev scripts/install-chromium
	scripts/install-chromium
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not torture"

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not browser and not torture"

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.decide
	$(BIN)/python -m benchmarks.glue --peers $(VENV)/peers
	$(BIN)/python -m benchmarks.catalog
	$(BIN)/python -m benchmarks.batch
	$(BIN)/python -m benchmarks.overload
	$(BIN)/python -m benchmarks.faults
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.identity
	$(BIN)/python -m benchmarks.merges
	$(BIN)/python -m benchmarks.outside_reads
	$(BIN)/python -m benchmarks.features --peers $(VENV)/peers
	$(BIN)/python -m benchmarks.hillstrom --peers $(VENV)/peers
	$(BIN)/python -m benchmarks.off_policy --peers $(VENV)/peers
	$(BIN)/python -m benchmarks.bandits --peers $(VENV)/peers
	$(BIN)/python -m benchmarks.personalizer --peers $(VENV)/peers

torture: $(VENV)/.dev
	$(BIN)/python -m pytest -m "slow or torture" --durations=10

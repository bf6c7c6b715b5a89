# Two commands do everything on a machine with Python 3.11+ and make: `make demo` and `make test`.
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
DEMO := reports/runs/t4-study

.PHONY: help demo reports test lint types layers bench lock clean

help:  ## What can be made.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "loadlab needs Python 3.11 or later; none was found. Try: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.installed  ## Replay the T4 study on the simulated backend; the report lies in reports/runs/t4-study.
	@rm -rf $(DEMO)
	$(BIN)/loadlab run scenarios/t4-study --seed 1 --out $(DEMO)

reports: $(VENV)/.installed  ## Make the published studies under reports/ again.
	$(BIN)/loadlab break-even --capacity scenarios/hosting/l40s-70b.toml --out reports/break-even-l40s --quiet
	$(BIN)/loadlab break-even --capacity scenarios/hosting/1p5t-h200.toml --out reports/break-even-1p5t --quiet
	$(BIN)/loadlab break-even --tiers scenarios/hosting/routing-90.toml --tiers scenarios/hosting/routing-95.toml \
		--tiers scenarios/hosting/routing-99.toml --out reports/routing --quiet
	$(BIN)/loadlab decide scenarios/hosting/decision-support-desk.toml --out reports/decision --quiet

test: lint types layers  ## Style, types, import layers, tests.
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## Benchmarks: figures on this machine, no verdicts.
	$(BIN)/python -m pytest tests/bench -q -s --override-ini=addopts=

lock:  ## Pin what pyproject.toml asks for, with hashes.
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" pyproject.toml --group build --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" pyproject.toml --group build --group dev --output-file requirements-dev.lock

clean:  ## Remove what was built; runs stay.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

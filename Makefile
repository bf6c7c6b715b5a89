# Two commands do everything on a machine with Python 3.11+ and make: `make demo` and `make test`.
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
DEMO := reports/runs/t4-study
REPORTS := break-even-l40s routing decision t4-study l40s-70b 1p5t slow-shard
DEMO_HTTP := reports/runs/demo-http
PORT ?= 8642

.PHONY: help pictures demo demo-http reports $(REPORTS:%=report-%) notebook docs drawing test lint types layers bench sbom wheel coverage mutants lock clean

help:  ## What can be made.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

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

reports: $(REPORTS:%=report-%)  ## Make the published studies under reports/ again; report-NAME makes one of them.

report-break-even-l40s: $(VENV)/.installed
	$(BIN)/loadlab break-even --capacity scenarios/hosting/l40s-70b.toml --out reports/break-even-l40s --quiet

report-routing: $(VENV)/.installed
	$(BIN)/loadlab break-even --tiers scenarios/hosting/routing-90.toml --tiers scenarios/hosting/routing-95.toml \
		--tiers scenarios/hosting/routing-99.toml --out reports/routing --quiet

report-decision: $(VENV)/.installed
	$(BIN)/loadlab decide scenarios/hosting/decision-support-desk.toml --out reports/decision --quiet

report-t4-study: $(VENV)/.installed
	@rm -rf reports/t4-study/capacity
	$(BIN)/loadlab capacity scenarios/t4-chat-capacity.toml --target sim:scenarios/clusters/t4-14b.toml \
		--rates 0.4,0.6,0.8,0.9,1,1.1,1.2,1.4/s --requests 10000 --band --out reports/t4-study/capacity --quiet
	$(BIN)/loadlab fleet --capacity reports/t4-study/capacity --demand scenarios/demand/support-desk.toml \
		--hosting scenarios/hosting/t4-14b.toml --requests 400000 --out reports/t4-study/fleet --quiet

report-l40s-70b: $(VENV)/.installed
	@rm -rf reports/l40s-70b
	$(BIN)/loadlab plan scenarios/hardware/70b-on-l40s.toml --model llama-3.3-70b-instruct --gpus l40s --quantisation fp8 --max-gpus 32 \
		--rate 4/s --out reports/l40s-70b/plan --quiet
	$(BIN)/loadlab capacity scenarios/hardware/70b-on-l40s.toml --target sim:reports/l40s-70b/plan/cluster.toml --start 4/s --band \
		--out reports/l40s-70b/capacity --quiet
	$(BIN)/loadlab fleet --capacity reports/l40s-70b/capacity --demand scenarios/demand/support-desk.toml \
		--hosting scenarios/hosting/l40s-70b-planned.toml --requests 100000 --out reports/l40s-70b/fleet --quiet
	$(BIN)/loadlab break-even --capacity reports/l40s-70b/capacity --hosting scenarios/hosting/l40s-70b-planned.toml \
		--out reports/l40s-70b/break-even --quiet

report-1p5t: $(VENV)/.installed
	@rm -rf reports/1p5t
	$(BIN)/loadlab capacity scenarios/hardware/1p5t-experts.toml --target sim:scenarios/clusters/h200-1p5t.toml \
		--rates 0.6,0.8,0.85,0.9,0.925,0.95,0.975,1,1.1/s --requests 20000 --band --out reports/1p5t/h200 --quiet
	$(BIN)/loadlab capacity scenarios/hardware/1p5t-experts.toml --target sim:scenarios/clusters/h100-1p5t.toml \
		--rates 0.8,1.1,1.2,1.25,1.275,1.3,1.325,1.35,1.4/s --requests 20000 --band --out reports/1p5t/h100 --quiet
	for gpu in h200 h100; do \
		$(BIN)/loadlab fleet --capacity reports/1p5t/$$gpu --demand scenarios/demand/experts-300m.toml \
			--hosting scenarios/hosting/1p5t-$$gpu-90b.toml --requests 100000 --out reports/1p5t/fleet-$$gpu --quiet && \
		$(BIN)/loadlab break-even --capacity reports/1p5t/$$gpu --hosting scenarios/hosting/1p5t-$$gpu-90b.toml \
			--out reports/1p5t/break-even-$$gpu --quiet || exit 1; done

report-slow-shard: $(VENV)/.installed
	@rm -rf reports/slow-shard/healthy reports/slow-shard/slow
	$(BIN)/loadlab capacity scenarios/hardware/70b-on-h100.toml --target sim:scenarios/clusters/h100-70b.toml \
		--rates 11,13,14,15,16,18/s --requests 10000 --band --out reports/slow-shard/healthy --quiet
	$(BIN)/loadlab capacity scenarios/hardware/70b-on-h100.toml --target sim:scenarios/clusters/h100-70b-slow-gpu.toml \
		--rates 7,8,9,10,11,12,14/s --requests 10000 --band --out reports/slow-shard/slow --quiet
	$(BIN)/loadlab fleet --capacity reports/slow-shard/healthy --demand scenarios/demand/assistant-peak.toml \
		--cluster scenarios/clusters/h100-70b-slow-gpu.toml --hosting scenarios/hosting/h100-70b.toml --requests 400000 \
		--out reports/slow-shard/fleet-with-a-slow-one --quiet
	$(BIN)/loadlab fleet --capacity reports/slow-shard/slow --demand scenarios/demand/assistant-peak.toml \
		--hosting scenarios/hosting/h100-70b.toml --no-simulate --out reports/slow-shard/fleet-of-slow-ones --quiet

demo-http: $(VENV)/.installed  ## Serve two simulated T4 over HTTP, load them for 30 s, show the report in reports/runs/demo-http.
	@rm -rf $(DEMO_HTTP)
	@$(BIN)/loadlab serve scenarios/clusters/t4-14b.toml --port $(PORT) --log $(DEMO_HTTP)/server & server=$$!; \
	trap 'kill -INT $$server; wait $$server' EXIT; \
	$(BIN)/python -c 'import socket, time; [time.sleep(0.1) for _ in range(100) if socket.socket().connect_ex(("127.0.0.1", $(PORT)))]'; \
	$(BIN)/loadlab run scenarios/demo-http.toml --target http://127.0.0.1:$(PORT) --model llm-14b --yes --out $(DEMO_HTTP)/client \
		|| test $$? -eq 98  # a machine that is busy with other things: the report says so

notebook: $(VENV)/.installed  ## Run the blocks of docs/python-api.md again, for its notebook.
	$(BIN)/python -m tests.docs.notebook docs/python-api.md

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

docs: $(VENV)/.installed-dev  ## The pages of docs/ as a site: build/site/index.html; every link is checked.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

drawing: $(VENV)/.installed  ## Draw who imports whom again, for docs/architecture.md.
	$(BIN)/python -m handbook.imports

sbom: $(VENV)/.installed-dev  ## What a user installs, as a CycloneDX bill of materials in dist/sbom.json.
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.json

wheel: $(VENV)/.installed-dev  ## The wheel, in dist/.
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

coverage: $(VENV)/.installed-dev  ## Statement coverage of the rooms that compute, by the whole suite and what it starts; fails below 95 %.
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --sort=miss

mutants: $(VENV)/.installed-dev  ## Change the code that judges, one place at a time: which changes does no test notice?
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group mutants
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

pictures: $(VENV)/.installed  ## Draw the terminal pictures in docs/pictures from what the commands print now.
	$(BIN)/python docs/pictures/terminal.py

lock:  ## Pin what pyproject.toml asks for, with hashes.
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" pyproject.toml --group build --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" pyproject.toml --group build --group dev --group docs --output-file requirements-dev.lock

clean:  ## Remove what was built; runs stay.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist mutants .coverage .coverage.* *.egg-info

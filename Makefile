# Each target is one command and makes what it needs. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
CORE := arlm mlm ilm mdlm
INSTALLED_FROM := constraints.txt requirements-dev.txt requirements-extras.txt runtime/pyproject.toml runtime/setup.py \
	runtime/xlm_runtime/VERSION $(CORE:%=reference-models/%/setup.py)

.PHONY: help demo test check format sync bench gpu results release docs clean
help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): $(INSTALLED_FROM)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=<path>")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt -e runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation \
		$(CORE:%=-e reference-models/%)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade \
		--target .venv/extras -r requirements-extras.txt
	# Its thousands of tasks take seconds to read each time; the tests have tasks of their own.
	find .venv/extras/lm_eval/tasks -mindepth 1 -type d -prune -exec rm -r {} +
	touch $(STAMP)

demo: $(STAMP) ## a fresh repository from the template: train, eval, generate
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo

test: $(STAMP) ## every test
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/test

check: $(STAMP) ## format, lint, types, layers, one copy of every line, documents
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

format: $(STAMP) ## put the code into shape
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

sync: $(STAMP) ## render the reference models again from the template
	$(BIN)/python tools/sync.py

bench: $(STAMP) ## measure; a table, and build/bench/results.json
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

gpu: $(STAMP) ## where there is a GPU: checks, and what is measured on one; docs/results
	$(BIN)/python -m pytest tests/gpu --page
	$(BIN)/python tests/benchmarks/run.py --device cuda --page

results: $(STAMP) ## train the reference models on star graphs; docs/results
	$(BIN)/python tools/results.py $(ARGS)

release: $(STAMP) ## VERSION=X.Y.Z: checks, the upgrade matrix, a commit and its tag
	PATH="$(CURDIR)/$(BIN):$$PATH" python tools/release.py "$(VERSION)"

docs: $(STAMP) ## the site, at http://127.0.0.1:8000
	$(BIN)/mkdocs serve

clean: ## everything that was made
	rm -rf .venv build site

# `make demo` and `make test` each work alone on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: install browser demo docs test test-slow lint types unit wheel release-check test-lowest gpu-check clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fdet needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs,test]'
	touch $(STAMP)

install: $(STAMP)

# The tests of pages need Debian's Chromium; without it they are skipped, by name.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	&& apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; } >/dev/null 2>&1 \
	|| echo 'no chromium: the tests of pages will be skipped'

demo: install
	PATH="$(CURDIR)/$(BIN):$$PATH" examples/trees/run.sh

# The site, from the pages in docs/ and from the code; a warning is an error, and nothing is fetched.
docs: install
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs docs/build
	@echo docs/build/index.html

test: lint types wheel unit

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# The root is the package, whatever the checkout is called: mypy sees it under its own name.
types: install
	mkdir -p $(VENV)/typing
	ln -sfn "$(CURDIR)" $(VENV)/typing/fdet
	MYPYPATH=$(VENV)/typing $(BIN)/mypy -p fdet.cache -p fdet.heads -p fdet.pipeline -m fdet -m fdet.__main__

PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
unit: install browser
	$(PYTEST) -m 'not slow'

# Commands that are killed again and again, trainings to the end, every script of benchmarks/ and examples/.
test-slow: install browser
	$(PYTEST) -m slow

# The wheel, installed where no checkout is in the way, holds every module.
wheel: install
	rm -rf $(VENV)/wheel build
	$(BIN)/python -m build --wheel --no-isolation --outdir $(VENV)/wheel . >$(VENV)/wheel.log 2>&1 || { cat $(VENV)/wheel.log; exit 1; }
	$(BIN)/python tests/import_wheel.py $(VENV)/wheel/*.whl

# The checkout under the name fdet, for what runs without an installation.
CHECKOUT := $(VENV)/typing
$(CHECKOUT)/fdet:
	mkdir -p $(CHECKOUT)
	ln -sfn "$(CURDIR)" $(CHECKOUT)/fdet

# Both of these install torch anew: some 6 GB of disk while they run, and a quarter of an hour each.
release-check: $(CHECKOUT)/fdet
	PYTHONPATH=$(CHECKOUT) $(PYTHON) -m fdet.tests.release.check --work $(VENV)/release

test-lowest: $(CHECKOUT)/fdet
	PYTHONPATH=$(CHECKOUT) $(PYTHON) -m fdet.tests.release.lowest --work $(VENV)/lowest

# What needs an accelerator: checks, figures, and benchmarks/GPU.md; without one each is skipped, by name.
gpu-check: $(CHECKOUT)/fdet
	PYTHONPATH=$(CHECKOUT) $(or $(wildcard $(BIN)/python),$(PYTHON)) -m fdet.benchmarks.gpu

clean:
	rm -rf $(VENV) build docs/build docs/generated *.egg-info examples/*/work

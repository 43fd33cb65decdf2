# Two commands: `make clock` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: clock test lint types floors unit gpu typing-tree clean

clock: $(STAMP)
	$(BIN)/python train.py scene=clock

test: lint types floors unit

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy and import-linter read folders, not editable installs: show them the package as it installs.
typing-tree: $(STAMP)
	rm -rf build/tree && mkdir -p build/tree/nerfkit
	ln -s $(CURDIR)/nerfkit/* build/tree/nerfkit/
	ln -s $(CURDIR)/kernels $(CURDIR)/conf build/tree/nerfkit/

types: typing-tree
	MYPYPATH=build/tree $(BIN)/mypy --explicit-package-bases -p nerfkit

floors: typing-tree
	cd build/tree && $(CURDIR)/$(BIN)/lint-imports --no-cache --config $(CURDIR)/pyproject.toml

unit: $(STAMP)
	$(BIN)/python -m pytest

# On a machine with a GPU: the kernels' tests there, then their times.
gpu: $(STAMP)
	$(BIN)/python -m benchmarks gpu

clean:
	rm -rf build dist *.egg-info

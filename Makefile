# Two commands: `make clock` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILED := $(VENV)/.compiled

.PHONY: clock test pinned lint types layers unit quick docs gallery torture gpu gpu-dry clean

clock: $(COMPILED)
	$(BIN)/python train.py scene=clock

# mypy beside the tests: it takes one core.
test: lint layers
	$(MAKE) --jobs=2 types unit

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	touch $@

# As CI installs: what requirements-ci.txt lists, each file by its hash, and torch of constraints.txt, whose builds differ.
pinned:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q --require-hashes -r requirements-ci.txt
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt torch
	$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	touch $(STAMP)

# The CPU kernels, in two processes: the first run would compile them one after the other. It does where this fails.
$(COMPILED): $(STAMP) $(wildcard kernels/*.py kernels/*/*.py)
	-$(BIN)/python -m nerfkit doctor --compile && touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy -p nerfkit

layers: $(STAMP)
	$(BIN)/lint-imports --no-cache

unit: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal

quick: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

# The documentation as a site, into site/: warnings and links that lead nowhere are errors.
docs: $(STAMP)
	$(BIN)/mkdocs build --strict

# The pictures of docs/gallery.md, by short runs; some minutes.
gallery: $(STAMP)
	$(BIN)/python -m benchmarks gallery

# Runs that are stopped at 60 random moments and resumed, on full disks and with clocks set back; a quarter of an hour.
torture: $(STAMP)
	$(BIN)/python -m tests.torture

# On a machine with a GPU: the tests there, then training, kernels, pictures; 590 s. OUT=FOLDER for the results.
gpu: $(STAMP)
	$(BIN)/python -m benchmarks gpu $(if $(OUT),--out $(OUT))

# The same tests where there is none: tests/dry_run.py. The interpreter takes half an hour or more.
gpu-dry: $(STAMP)
	$(BIN)/python -m pytest -m gpu --gpu-dry -n auto --dist worksteal
	NERFKIT_SLOWEST=1 $(BIN)/python -m pytest tests/fit/test_refine_device.py

clean:
	rm -rf build dist site *.egg-info

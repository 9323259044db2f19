# The two commands of the README: `make demo` and `make test`. Plain pip underneath.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := CMakeLists.txt $(wildcard src/native/* src/native/*/*)

# The versions everything is installed at, build tools included.
export PIP_CONSTRAINT := $(CURDIR)/requirements.lock
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test check bench lock wheel clean

help:  ## This list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

demo: $(VENV)/.demo  ## Index real photographs and find them again, whole and by part. PHOTOS=folder for your own.
	$(BIN)/python examples/demo.py $(if $(PHOTOS),--photos "$(PHOTOS)") --out demo

test: $(VENV)/.dev  ## Install what the tests need and run them all.
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST)

check: $(VENV)/.dev  ## Lint, strict types, and that imports only point down.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench  ## Every benchmark in its quick form; benchmarks/NAME.py without --quick for the committed figures.
	for benchmark in benchmarks/[a-z]*.py; do $(BIN)/python $$benchmark --quick --out build/bench || exit 1; done

wheel: $(VENV)/.dev  ## A wheel for this machine, in dist/.
	$(BIN)/pip wheel -q --no-deps -w dist .

lock:  ## Renew requirements.lock from what pyproject.toml allows today.
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	PIP_CONSTRAINT= PIP_BUILD_CONSTRAINT= build/lock/bin/pip install -q 'scikit-build-core>=1.1' 'nanobind>=2.9' ninja -e '.[bench,dev]'
	( echo "# Made by: make lock"; build/lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' ) > requirements.lock

clean:  ## Remove the virtual environment and everything built.
	rm -rf $(VENV) build dist demo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml requirements.lock $(NATIVE)
	$(BIN)/pip install -q -e '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml requirements.lock $(NATIVE)
	$(BIN)/pip install -q -e '.[dev]'
	touch $@
	touch $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/pip install -q -e '.[bench,dev]'
	touch $@

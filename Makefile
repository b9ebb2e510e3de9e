# Targets work on a fresh clone with nothing but a Python (>= 3.11). Another Python: make test PYTHON=python3.12
PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q --no-warn-script-location

PYVERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
PYTHON_STAMP := $(VENV)/.python-$(PYVERSION)

# constraints.txt holds the versions that CI runs on Python 3.11. Other Pythons take the newest that fit pyproject.toml.
ifneq ($(filter 3.11.%,$(PYVERSION)),)
CONSTRAINTS := -c constraints.txt
endif

BENCHMARKS := $(sort $(wildcard benchmarks/bench_*.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-full durations lint docs bench changelog clean distclean

help: ## Show this list
	@echo "make TARGET [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.base ## Run the main job on simulated data, offline
	@echo "== demo: tutorials/demo.py"
	@$(BIN)/python tutorials/demo.py

test: $(VENV)/.test ## Run the tests
	@echo "== test: pytest $(PYTEST_ARGS)"
	@OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: $(VENV)/.test ## Run the tests that are not slow
	@echo "== test-fast: pytest $(PYTEST_ARGS) -m 'not slow'"
	@OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) -m 'not slow'

test-full: $(VENV)/.test ## Run the tests, with all examples of property tests
	@echo "== test-full: pytest $(PYTEST_ARGS) --hypothesis-profile=full"
	@OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) --hypothesis-profile=full

durations: $(VENV)/.test ## Run the tests and renew the list of slow ones, tests/slow.txt
	@OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) --write-slow 0.3

lint: $(VENV)/.lint ## Run every static check of .pre-commit-config.yaml
	@echo "== lint: ruff check"
	@$(BIN)/ruff check .
	@echo "== lint: ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== lint: pyproject-fmt --check"
	@$(BIN)/pyproject-fmt --check pyproject.toml
	@echo "== lint: mypy"
	@MYPY_NUM_WORKERS=2 $(BIN)/mypy
	@echo "== lint: nbstripout --verify"
	@find docs tutorials -name '*.ipynb' -not -path '*/_build/*' -not -path '*/generated/*' -print0 2>/dev/null \
		| xargs -0 -r $(BIN)/nbstripout --verify

docs: $(VENV)/.docs ## Build the documentation into docs/_build/html, warnings are errors
	@echo "== docs: sphinx-build"
	@rm -rf docs/generated
	@$(BIN)/sphinx-build -q -j 2 -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.base ## Run every benchmarks/bench_*.py
	@$(if $(BENCHMARKS),,echo "== bench: no benchmarks/bench_*.py")
	@set -e; for file in $(BENCHMARKS); do echo "== bench: $$file"; $(BIN)/python "$$file"; done

changelog: ## Move changelog.d/ into CHANGELOG.md; with VERSION=0.2.0 for a release
	@$(PYTHON) .ci/changelog.py $(VERSION)

clean: ## Remove what the targets made, except .venv
	rm -rf build dist demo_output docs/_build docs/generated htmlcov .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks tutorials docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## The same, with .venv
	rm -rf $(VENV)

# One stamp for the interpreter: another Python makes a new environment.
$(PYTHON_STAMP):
	@test -n "$(PYVERSION)" || { $(PYTHON) --version; echo "PYTHON=$(PYTHON) does not run; heldout needs >= 3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "PYTHON=$(PYTHON) is $(PYVERSION); heldout needs >= 3.11, e.g. PYTHON=python3.12"; exit 1; }
	@echo "== setup: $(VENV) with Python $(PYVERSION)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade 'pip>=25.1'
	@touch $@

# torch goes first, so that the build chosen here is kept by everything that depends on it.
$(VENV)/.base: pyproject.toml constraints.txt $(PYTHON_STAMP)
	@echo "== setup: torch (several minutes the first time)"
	@$(PIP) $(CONSTRAINTS) 'torch>=2.6'
	@echo "== setup: heldout and its dependencies"
	@$(PIP) $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.base
	@echo "== setup: dependency group '$*'"
	@$(PIP) $(CONSTRAINTS) --group '$*'
	@touch $@

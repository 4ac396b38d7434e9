# `make compare` and `make test` set up everything they need in .venv: Python 3.11 or newer is enough, uv makes it faster.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: compare test lint docs dev clean

compare: $(VENV)/.fdl ## compare six optimizers on handwritten digits
	@$(BIN)/fdl compare digits-cnn

test: $(VENV)/.dev ## run the tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 8

lint: $(VENV)/.dev ## formatting, lint, types and the order of the floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.dev ## build the documentation into site/
	@$(BIN)/sphinx-build -W --keep-going -q -b html docs site

dev: $(VENV)/.dev ## set up .venv for development

clean:
	rm -rf $(VENV) site

$(VENV)/.fdl: pyproject.toml
	@$(call install,.)
	@touch $@

$(VENV)/.dev: pyproject.toml
	@$(call install,.[dev])
	@touch $@ $(VENV)/.fdl

define install
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fdl needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }; \
	echo "Setting up $(VENV) (once) ..."; \
	if command -v uv >/dev/null 2>&1; then \
	  { [ -x $(BIN)/python ] || uv venv --quiet --seed --python $(PYTHON) $(VENV); } && uv pip install --quiet --python $(BIN)/python -e '$(1)'; \
	else \
	  { [ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV); } && $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '$(1)'; \
	fi
endef

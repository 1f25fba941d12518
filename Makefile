# Keystead. `make demo` shows the main job, `make test` runs every test, `make check` holds the code to its rules.
# Everything happens in .venv. The tests need some Debian packages beside it: see .ci/packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto

.PHONY: demo demo-hsm test check bench soak golden crash packages format audit-dependencies clean

demo: $(VENV)/.demo
	$(BIN)/python examples/quickstart/demo.py

demo-hsm: $(VENV)/.demo
	$(BIN)/python examples/hsm/demo.py

test: $(VENV)/.dev packages $(VENV)/clients/.made $(VENV)/provider/.made
	$(BIN)/python -m pytest -n $(JOBS) $(TESTS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev packages
	$(BIN)/python -m tests.benchmarks

soak: $(VENV)/.dev packages
	KEYSTEAD_SOAK_SECONDS=$${KEYSTEAD_SOAK_SECONDS:-1800} $(BIN)/python -m pytest tests/plugins/test_pkcs11_soak.py

# All of it takes an hour; make crash SLICE=2/10 kills at every tenth point, from the second on.
# Golden files show what people see: plans, tables, screens. This writes them as they are now; then read `git diff`.
golden: $(VENV)/.dev
	KEYSTEAD_UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q -n $(JOBS) tests/controlplane/test_report.py \
	  tests/controlplane/planning/test_golden_plans.py tests/tui/test_screens.py tests/tui/test_states.py

crash: $(VENV)/.dev packages
	KEYSTEAD_LONG=1 $(if $(SLICE),KEYSTEAD_SLICE=$(SLICE)) $(BIN)/python -m pytest -n $(JOBS) --timeout 3600 \
	  $(if $(SLICE),-m points) tests/crash

packages:
	@.ci/packages

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit-dependencies: $(VENV)/.dev
	$(BIN)/pip-audit --skip-editable

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Keystead needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

# What tests/interop runs as its users do, apart: each of these programs pins a botocore of its own.
$(VENV)/clients/.made: tests/interop/clients/requirements.txt tests/interop/clients/package.json | $(BIN)/python
	@command -v npm >/dev/null || { echo "npm is missing; on Debian: apt-get install nodejs npm" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)/clients
	$(VENV)/clients/bin/pip install --quiet --disable-pip-version-check -r tests/interop/clients/requirements.txt
	@cp tests/interop/clients/package.json $(VENV)/clients/
	npm install --silent --no-audit --no-fund --prefix $(VENV)/clients
	@touch $@

# The Terraform provider, apart: its protobuf is not for the server. It sees Keystead as it is here.
PROVIDER := examples/terraform/provider
$(VENV)/provider/.made: pyproject.toml $(PROVIDER)/pyproject.toml | $(BIN)/python
	@$(PYTHON) -m venv $(VENV)/provider
	$(VENV)/provider/bin/pip install --quiet --disable-pip-version-check --editable . --editable $(PROVIDER)
	@touch $@

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.demo

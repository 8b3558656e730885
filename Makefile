# `make demo`: real pictures to a verified, running service.
# `make test`: every check and test, 13 minutes on 2 cores. `make test-quick`: the checks, and the tests that
# neither train for long nor start servers, of every room: 2 minutes, for daily work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml constraints.txt
# A Triton server and its gRPC client, which need older packages than the rest. Tests that find none are skipped.
TRITON := nvidia-pytriton==0.7.0
TRITON_PACKAGES := tritonclient[grpc]==2.73.0 numpy==1.26.4 protobuf==6.33.6 grpcio-health-checking==1.81.1

.PHONY: demo test test-quick check format benchmark docs clean

demo: $(VENV)/.installed-demo
	$(BIN)/python examples/solar-cells/demo.py

test: check $(VENV)/triton/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-quick: check
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow'

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[benchmark]'
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/export.py
	$(BIN)/python benchmarks/text_training.py
	$(BIN)/python benchmarks/serving/frame.py models/solar-cells
	$(BIN)/python benchmarks/serving/compare.py models/solar-cells
	$(BIN)/python benchmarks/serving/overload.py models/solar-cells

docs: $(VENV)/.installed-docs # without --quiet, which would keep warnings from --strict
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html"

$(VENV)/.created:
	$(PYTHON) -c 'import sys; sys.exit("Graft needs Python 3.11 or newer; name one with: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed-demo: $(VENV)/.created $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.created $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,tweets,wordnet,dev]'
	touch $@ $(VENV)/.installed-demo $(VENV)/.installed-docs

$(VENV)/.installed-docs: $(VENV)/.created $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

$(VENV)/triton/.installed: $(VENV)/.created Makefile
	$(PYTHON) -m venv $(VENV)/triton
	$(VENV)/triton/bin/python -m pip install --quiet --disable-pip-version-check --no-deps '$(TRITON)'
	$(VENV)/triton/bin/python -m pip install --quiet --disable-pip-version-check $(foreach name,$(TRITON_PACKAGES),'$(name)')
	touch $@

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

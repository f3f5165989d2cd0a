# Needs only make and python3 (3.11 or newer). Everything is installed into $(VENV), from locks with hashes, through the pip
# configuration of this machine. A second run finds its stamps and starts at once; a changed lock installs again.

PYTHON ?= python3
VENV ?= .venv
UV ?= $(VENV)/bin/uv
NATIVE ?= .venv-native

BIN := $(VENV)/bin
# The build of the image's Python was guided by a profile, and Debian's was; one made by hand mostly was not and takes a tenth more time.
PROFILED := $(shell /usr/bin/python3 -c 'import sys; sys.version_info < (3, 11) or print(sys.executable)' 2>/dev/null || true)
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq --require-hashes
COMPILE := $(UV) pip compile --quiet $(UV_FLAGS) --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-native lint mutation native bench bench-native bench-proxy soak compat-table corpus-table waking-page lock clean

help:
	@echo "make demo   see it work against a platform in a box; no account, no cost"
	@echo "make test   everything that must hold: lint, types, layers, tests"
	@echo "make lint   only the first three"
	@echo "make mutation    change policy and guard in thousands of places, one at a time, and see whether a test fails"
	@echo "make bench  what the request path costs beside nginx, and what a backtest costs"
	@echo "make bench-proxy  what it costs beside nginx, HAProxy, Envoy, vllm-router and LiteLLM"
	@echo "make native  compile the request path, as the image has it, into $(NATIVE)"
	@echo "make soak   the request path under pressure, for hours (SOAK_FLAGS='--minutes 5': shorter)"
	@echo "make compat-table   run the Together clients' commands and write docs/together-clients.md"
	@echo "make corpus-table   ask nginx and HAProxy about the corpus and write docs/request-corpus.md"
	@echo "make waking-page    see what clients see while an endpoint wakes, and write docs/waking.md"
	@echo "make lock   resolve requirements/*.txt again (UV_FLAGS=--upgrade: newest versions)"
	@echo "make clean  remove $(VENV), $(NATIVE) and caches"

demo: $(VENV)/.runtime
	$(BIN)/scaler demo

test: lint
	tests/setup.sh
	$(BIN)/python -m pytest -m "not alone" --numprocesses auto --dist loadfile
	$(MAKE) test-native
	$(BIN)/python -m pytest -m alone

# The compiled modules come first on the path, and nothing puts this folder before them, for no process that is started from here.
COMPILED = PYTHONSAFEPATH=1 PYTHONPATH=$$($(NATIVE)/bin/python -Pc 'import scaler; print(*(f.rpartition("/")[0] for f in scaler.__path__))'):. COMPILED=true

test-native: $(VENV)/.dev $(NATIVE)/.installed
	$(COMPILED) $(BIN)/python -m pytest --override-ini pythonpath= -m "not interpreted" --numprocesses auto --dist loadfile tests/proxy tests/workers

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy scaler tests
	$(BIN)/lint-imports

mutation:
	@$(MAKE) --no-print-directory VENV=.venv-mutation .venv-mutation/.mutation
	.venv-mutation/bin/python -m tests.mutation.run $(MUTATION_FLAGS)

bench: $(VENV)/.dev bench-native
	$(BIN)/python -m tests.bench.proxy.run --only nginx scaler
	$(BIN)/python tests/bench/bench_backtest.py

native: $(NATIVE)/.installed

# scaler as the image has it, beside its peers.
bench-native: | $(BIN)/python
	@$(MAKE) --no-print-directory native NATIVE=.venv-peers/scaler $(if $(PROFILED),PYTHON=$(PROFILED))

bench-proxy: $(VENV)/.dev bench-native
	tests/bench/proxy/setup.sh $(PYTHON)
	$(BIN)/python -m tests.bench.proxy.run

soak: $(VENV)/.dev $(NATIVE)/.installed
	$(COMPILED) $(BIN)/python -m tests.pressure.soak $(SOAK_FLAGS)

compat-table: $(VENV)/.dev
	COMPAT_TABLE=write $(BIN)/python -m pytest tests/compat/test_compat_together_commands.py tests/compat/test_compat_together_3_1_1.py

corpus-table: $(VENV)/.dev
	CORPUS_TABLE=write $(BIN)/python -m pytest tests/proxy/test_proxy_oracles.py

waking-page: $(VENV)/.dev
	WAKING_PAGE=write $(BIN)/python -m pytest tests/compat/test_compat_waking.py

lock: $(UV)
	$(COMPILE) pyproject.toml --group dev --output-file requirements/dev.txt >/dev/null
	$(COMPILE) pyproject.toml --constraints requirements/dev.txt --output-file requirements/runtime.txt >/dev/null
	$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/build.txt >/dev/null
	$(COMPILE) --group mutation --constraints requirements/dev.txt --output-file requirements/mutation.txt >/dev/null
	$(COMPILE) pyproject.toml --group native --constraints requirements/dev.txt --output-file requirements/native.txt >/dev/null
	for name in envoy vllm litellm; do \
		$(UV) pip compile --quiet $(UV_FLAGS) --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
			--group peer-$$name --output-file requirements/peer-$$name.txt >/dev/null || exit 1; done

clean:
	rm -rf $(VENV) $(NATIVE) .venv-mutation mutants build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "scaler needs Python 3.11 or newer as $(PYTHON); name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tests/setup.sh python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(BIN)/python
	@echo "Installing scaler, $$(grep -c == $<) locked packages ($<) and its build backend into $(VENV)"
	@$(INSTALL) -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing scaler and $$(grep -c == $<) locked packages ($<) into $(VENV)"
	@$(INSTALL) -r $<
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.mutation: requirements/mutation.txt $(VENV)/.dev
	@echo "Installing $$(grep -c == $<) locked packages ($<) into $(VENV)"
	@$(INSTALL) -r $<
	@touch $@

# From a copy, because the compiler leaves its products beside the sources, where they would be taken for these ever after.
$(NATIVE)/.installed: requirements/native.txt pyproject.toml $(shell find scaler -name '*.py') | $(BIN)/python
	@$(PYTHON) -c 'import ensurepip, os, shutil, sysconfig as s; os.stat(s.get_path("include") + "/Python.h"); os.stat(shutil.which("cc"))' 2>/dev/null \
		|| tests/setup.sh gcc libc6-dev python3-dev python3-venv
	@echo "Compiling the request path, with $$(grep -c == $<) locked packages ($<), into $(NATIVE)"
	@rm -rf $(NATIVE) && $(PYTHON) -m venv $(NATIVE)
	@$(NATIVE)/bin/python -m pip --disable-pip-version-check install -qq --require-hashes -r $<
	@rm -rf build/native && mkdir -p build/native && cp -r scaler pyproject.toml README.md LICENSE build/native
	@HATCH_BUILD_HOOK_ENABLE_MYPYC=true $(NATIVE)/bin/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation build/native
	@rm -rf build/native
	@touch $@

$(VENV)/bin/uv: | $(BIN)/python
	$(PIP) install -qq uv

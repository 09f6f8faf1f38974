# Every target builds .venv when it is missing or stale; nothing else needs to be set up.
# Another Python:  make demo PYTHON=/path/to/python3.13

.DEFAULT_GOAL := help
.PHONY: help demo test test-slurm test-hosts test-torch check slow chaos bench bench-long train-starters clean
.DELETE_ON_ERROR:

# The first Python that runs and fits. A shim may exist and still fail, so each one is run.
FITS := import sys; v = sys.version_info; assert (3, 12) <= v < (3, 14)
ifndef PYTHON
PYTHON := $(shell for p in python3.13 python3.12 python3; do \
	$$p -c '$(FITS)' 2>/dev/null && { echo $$p; break; }; done)
endif
VERSION := $(shell $(or $(PYTHON),false) -c '$(FITS); print("%d.%d" % v[:2])' 2>/dev/null)

BIN := .venv/bin
STAMP := .venv/.installed-$(VERSION)
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -q
# Test processes, of some 3 GiB each. Files stay whole: their tests share what is costly to make.
JOBS := 2
SHARED := -n $(JOBS) --dist loadfile

help:
	@echo "make demo    a land-cover map and a labelled MR volume, from the packaged samples"
	@echo "make test    the whole test suite, under 15 minutes"
	@echo "make test-slurm   jobs of a real SLURM, started on this machine; needs root, slurm-wlm and munge"
	@echo "make test-hosts   hosts in network namespaces, links cut in mid-run; needs root"
	@echo "make test-torch   models of PyTorch and nnU-Net, converted in a Python with torch"
	@echo "make check   format, lint, types, layers, fast tests, under 2 minutes"
	@echo "make slow    tests that take longer"
	@echo "make chaos   a night of 20 inputs killed, stopped, starved and misread, against a quiet one"
	@echo "make bench   speed, memory and accuracy, beside others and the last kept run, under 30 minutes"
	@echo "make bench-long   what takes longer: training, scale, leaks, a simulated cluster"
	@echo "make train-starters   the starter bundles anew, into build/, under 30 minutes each"
	@echo "make clean   remove everything that can be made again"

# A stamp per Python version: another version starts from an empty .venv, as does a broken install.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(VERSION)" || { echo "segbatch needs Python 3.12 or 3.13, but $(or $(PYTHON),python3) gives" \
	  "'$$($(or $(PYTHON),python3) -V 2>&1 | head -1)': install one of them, or name it:" \
	  "make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@echo "Building .venv with $(PYTHON): the first time takes some minutes" >&2
	@$(PYTHON) -m venv $(if $(wildcard $(STAMP)),,--clear) .venv
	@$(PIP) install --editable '.[dev]' --constraint constraints.txt
	@touch $@

demo: $(STAMP)
	@$(BIN)/segbatch demo

test: $(STAMP)
	$(PYTEST) $(SHARED)

# These two need what not every machine has: where it is missing they say what, and are skipped.
test-slurm test-hosts: test-%: $(STAMP)
	@why="$$(tests/$*/missing.sh)"; if [ -n "$$why" ]; then \
	  echo "SKIPPED: make $@ was not run on this machine:" >&2; echo "$$why" | sed 's/^/    /' >&2; \
	else echo '$(PYTEST) -m $* tests/$*'; $(PYTEST) -m $* tests/$*; fi

check: $(STAMP)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	HYPOTHESIS_PROFILE=fast $(PYTEST) $(SHARED) -m "not slow and not bench and not gpu and not torch and not slurm and not hosts and not convert and not full"

slow: $(STAMP)
	$(PYTEST) -m slow

# Some of it needs root (a tmpfs that fills) and says so where it was skipped.
chaos: $(STAMP)
	$(BIN)/python tests/chaos/chaos.py

# Torch, MONAI, nnU-Net and ukis-csmask are measured against in an environment of their own; torch never meets the package.
# Where the registry has no CPU build of this torch for a Python, name another: PEERS_PYTHON=python3.12
ifndef PEERS_PYTHON
PEERS_PYTHON := $(shell for p in python3.11 python3.12 python3.13; do \
	$$p -c 'import ensurepip' 2>/dev/null && { echo $$p; break; }; done)
endif
.venv-peers/.installed: Makefile
	@echo "Building .venv-peers with $(PEERS_PYTHON): the first time takes some minutes" >&2
	@$(PEERS_PYTHON) -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip -qq --disable-pip-version-check install \
	  torch==2.13.0 monai==1.6.1 nnunetv2==2.8.1 rasterio==1.4.4 nibabel==5.4.2 numpy==2.4.6
	@.venv-peers/bin/python -m pip -qq --disable-pip-version-check install --no-deps \
	  ukis-csmask==1.0.0 onnxruntime==1.31.1
	@touch $@

# The Python that converts models of PyTorch. Where it can't be built, test-torch says so and is skipped.
.venv-torch/.installed: Makefile
	@echo "Building .venv-torch with $(PEERS_PYTHON)" >&2
	@$(PEERS_PYTHON) -m venv --clear .venv-torch
	@.venv-torch/bin/python -m pip -qq --disable-pip-version-check install \
	  torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 numpy
	@.venv-torch/bin/python -m pip -qq --disable-pip-version-check install --no-deps \
	  dynamic-network-architectures==0.4.4 einops==0.8.2
	@touch $@

test-torch: export SEGBATCH_TORCH_PYTHON = $(CURDIR)/.venv-torch/bin/python
test-torch: $(STAMP)
	@if $(MAKE) --no-print-directory .venv-torch/.installed; then \
	  echo '$(PYTEST) -m "convert and not slow" tests/conversion'; \
	  $(PYTEST) -m "convert and not slow" tests/conversion; \
	else echo "SKIPPED: make $@ was not run on this machine:" >&2; \
	  echo "    no torch for $(or $(PEERS_PYTHON),any Python): name another with PEERS_PYTHON=" >&2; fi

# The table is kept for machines of this kind by:  make bench KEEP=--keep
bench bench-long: export SEGBATCH_DATA ?= ../shared/data
bench bench-long: $(STAMP) .venv-peers/.installed
	@$(MAKE) --no-print-directory .venv-torch/.installed || \
	  echo "no torch to convert nnU-Net's network with: of nnU-Net nothing is measured" >&2
	$(BIN)/python tests/benchmarks/all.py $(if $(filter bench-long,$@),--long) $(KEEP)

# Real data: SEGBATCH_DATA names their folder, see seg_batch/data/samples/README.md.
train-starters: export SEGBATCH_DATA ?= ../shared/data
train-starters: $(STAMP)
	SEGBATCH=$(BIN)/segbatch workflows/train-starter-bundles.sh build

clean:
	rm -rf .venv* build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find seg_batch tests workflows -name __pycache__ -prune -exec rm -rf {} +

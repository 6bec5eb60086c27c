# `make help` lists the targets. Nothing but Python 3.11 to 3.13 and make is needed; packages go into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
PARETOBOX_HOME ?= $(CURDIR)/.paretobox
PORT ?= 8000
export PARETOBOX_HOME

# Index for torch alone, e.g. PyTorch's CPU index on a machine without a GPU (docs/install.md).
TORCH_INDEX ?=
TORCH := torch==2.14.1 torchvision==0.29.1

.PHONY: help setup up demo test check bench faults gpu-check

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## virtual environment and packages (once; the other targets call it)

$(VENV)/.installed: pyproject.toml constraints.txt deploy/setup.sh
	@VENV=$(VENV) TORCH="$(TORCH)" TORCH_INDEX="$(TORCH_INDEX)" bash deploy/setup.sh
	@touch $@

up: setup  ## the site and one worker on this machine (PORT=8000); Ctrl-C stops them
	@exec $(PY) -m deploy.local up --port $(PORT)

demo: setup  ## the starter benchmark from data to frontier, then the site stays up (EXIT=1: stops at the end)
	@exec $(PY) -m deploy.local demo --port $(PORT) $(if $(filter 1,$(EXIT)),--exit)

test: setup  ## the tests (ALL=1: the heavy ones too; ALL=name: the heavy suite of that name)
	@$(PY) -m tests.browser
	@$(PY) -m pytest $(if $(ALL),$(if $(filter 1,$(ALL)),-m "not gpu",-m "heavy and not gpu" -k "$(ALL)"),-n 4 --dist loadscope)

check: setup  ## lint, format, types, import contracts, migrations, deployment checks
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PY) -m tests.servers $(VENV)/bin/mypy detection_core webapp workers deploy benchmarks
	@$(VENV)/bin/lint-imports
	@$(PY) -m tests.servers $(PY) manage.py makemigrations --check --dry-run
	@HTTPS=1 $(PY) -m tests.servers $(PY) manage.py check --deploy --fail-level WARNING

bench: setup  ## our figures beside their marks, written to PARETOBOX_HOME/bench (QUICK=1: smaller)
	@$(PY) -m benchmarks run $(if $(filter 1,$(QUICK)),--quick) $(if $(ROW),--only $(ROW))

faults: setup  ## kill and starve what a deployment loses in life: the failure-injection tests
	@$(PY) -m pytest -m "not gpu" tests/faults tests/deploy

gpu-check: setup  ## train, export, time and break on a CUDA device (at most 8 minutes)
	@$(PY) -m benchmarks.gpu_check --out "$(PARETOBOX_HOME)/gpu-check.json"

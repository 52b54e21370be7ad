# make demo: the whole chain on the embedded data set.  make test: everything that must hold.
# make hmdb51 SOURCE=hmdb51_org.rar: from the archive to the accuracy on the official splits.
# Both set up what they need the first time (scripts/setup) and are quick after that.
SHELL := /bin/bash
VENV ?= .venv
export VENV
NUM_TEST_PROCESSES ?= 2
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest

.PHONY: demo hmdb51 test lint test-slow test-stress test-cuda test-newest gpu audit coverage mutation audit-tools clean

demo:
	@scripts/setup
	@scripts/demo

# SOURCE: archive, address or folder. Says first what it takes, goes on where it was stopped, ends with a report.
# ROAD=auto|probe|small|motion|whole  by the GPU's memory, or this one      NAME=...   of the run; default: the recipe's
# INIT=weights  file, run or hf:REPO; default: the recipe's                 SPLITS=1,2,3  EPOCHS=  SEED=  as `lsvit-train`
# SIZE=224x304  of the stored pictures   WORKERS=  of the extraction        VIDEOS=  SHARDS=  MANIFESTS=  RUNS=  folders
# Every variable given behind `make` goes to scripts/hmdb51 as it is, in quotes, and an unknown one is refused there;
# the known ones but NAME are read from the environment too (SOURCE=... make hmdb51).
given = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),'$(name)=$(subst ','\'',$(value $(name)))'))
hmdb51:
	@scripts/setup
	@$(VENV)/bin/python -m scripts.hmdb51 $(given)

# A file's tests stay in one process: what they share is made once.
test: lint
	$(PYTEST) -n $(NUM_TEST_PROCESSES) --dist loadfile -m "not slow and not cuda and not stress"

lint:
	@scripts/setup test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test-slow:
	@scripts/setup test
	$(PYTEST) -m "slow and not cuda and not stress"

# Faults of processes, disks, nodes and servers: with Ray, and with a server of S3 on this machine.
test-stress:
	@scripts/setup test
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e ".[ray,remote,stress]"
	$(PYTEST) -m stress

# Known vulnerabilities of what is installed. 0: none, 1: some, 2: the database could not be reached.
audit: audit-tools
	@$(VENV)/bin/python scripts/audit.py

coverage: audit-tools
	$(PYTEST) -n $(NUM_TEST_PROCESSES) --dist loadfile -m "not slow and not cuda and not stress" --cov --cov-branch --cov-report=term

# Changes the sampling, the shard reader and the plans in a copy (mutants/), line by line: each change must fail a test.
mutation: audit-tools
	OMP_NUM_THREADS=1 $(VENV)/bin/mutmut run --max-children $(NUM_TEST_PROCESSES)
	$(VENV)/bin/mutmut results

audit-tools:
	@scripts/setup test
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e ".[audit]"

test-cuda:
	@scripts/setup test
	$(PYTEST) -m cuda

# With the newest torch and torchcodec, in an environment of their own that is removed afterwards (KEEP=1 keeps it).
test-newest:
	@scripts/newest

# Checks and measures a GPU in at most 8 minutes; the report comes into runs/gpu. See docs/benchmarks.md.
gpu:
	@scripts/setup test
	$(VENV)/bin/python -m benchmarks.gpu

# Caches and what the demo made; never videos, shards and runs of your own, nor the virtual environment.
clean:
	rm -rf build dist mutants .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis data/demo runs/demo
	find shared preprocess train hmdb51_lsvit tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

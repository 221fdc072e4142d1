# Every command that this repository documents; `make help` lists them.
#
#   PYTHON=/path/to/python3.11   the Python to build .venv with (3.11.5 or newer, or 3.12)
#   MOCAP_ROOT=/path/to/bvh      the motion capture that mocap, ablations and occlusion read

.DEFAULT_GOAL := help
.PHONY: help install repro smoke mocap paper ablations occlusion ledger test kill-test lab clean

# Renamed whenever the pins change, so that an up-to-date installation costs nothing.
STAMP := .venv/installed-$(shell cat requirements.txt pyproject.toml | cksum | cut -d ' ' -f 1)
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)
PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3)

SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
# OpenMP's waiting threads soon sleep: with other work on the machine they would block it.
export GOMP_SPINCOUNT := 2000

# Shell: what `MOCAP_ROOT=` says, if it is said, for the command after it.
define READ_MOCAP_ROOT
if [ -n "$(MOCAP_ROOT)" ]; then \
    if [ ! -d "$(MOCAP_ROOT)" ]; then \
        echo "error: MOCAP_ROOT must be a folder of BVH files; got $(MOCAP_ROOT)" >&2; exit 1; \
    fi; \
    DI2POSE_MOCAP_ROOT="$$(cd "$(MOCAP_ROOT)" && pwd)"; export DI2POSE_MOCAP_ROOT; \
fi;
endef

help:
	@echo "make repro   everything, from poses to evaluation, at scale lesson (under 20 minutes)"
	@echo "make smoke   the same at scale smoke: the whole pipeline, tiny (under 4 minutes)"
	@echo "make mocap   scale lesson on real motion capture; MOCAP_ROOT=<folder of BVH files>"
	@echo "make paper   the paper's sizes; needs a GPU, not run yet"
	@echo "make ablations   the paper's Tables 3 to 5 and ours (hours; continues where it was)"
	@echo "make occlusion   masks, crops, occluders, AdvOcc, three seeds (hours; continues), the ledger"
	@echo "make ledger  results/ledger.csv from the committed results: each number and claim (seconds)"
	@echo "make lab     JupyterLab, at the notebook to start with"
	@echo "make test    style, unit tests, notebooks, the smoke pipeline killed midway"
	@echo "make kill-test   kill -9 of the running smoke pipeline alone; KILL_SEED=1 for other moments"
	@echo "make install the pinned packages in .venv, and nothing else"
	@echo "make clean   remove scratch/, what notebooks made that were run by hand"
	@echo ""
	@echo "Each (but clean) creates .venv with the pinned packages when it is missing."

install: $(STAMP)

$(STAMP):
	@set -eu; \
	if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	    for candidate in $(PYTHONS); do \
	        if "$$candidate" -c 'import sys; sys.exit(not (3, 11, 5) <= sys.version_info[:3] < (3, 13))' \
	            >/dev/null 2>&1; then found="$$candidate"; break; fi; \
	        refused="$${refused-}; $$candidate is $$("$$candidate" --version 2>/dev/null || echo not there)"; \
	    done; \
	    if [ -z "$${found-}" ]; then \
	        echo "error: Python 3.11 (from 3.11.5) or 3.12 is needed; found none$${refused-}." >&2; \
	        echo "Say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	        exit 1; \
	    fi; \
	    echo "Creating .venv with $$("$$found" --version)"; \
	    "$$found" -m venv --clear .venv; \
	fi; \
	rm -f .venv/installed-*; \
	echo "Installing the pinned packages into .venv (a few minutes the first time)"; \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH); \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt; \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	touch $(STAMP)

repro: $(STAMP)
	@echo "Running the pipeline at scale lesson on synthetic data: dvc repro"
	@dvc repro
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  reports/lesson/synthetic/00_start_here.ipynb     the notebooks as they ran, in JupyterLab"
	@echo "  results/lesson/synthetic/evaluation.json         every measured number"
	@echo "  .venv/bin/dvc metrics show                       the few that matter"
	@echo "  make lab                                         open and change the notebooks"

smoke: $(STAMP)
	@echo "Running the pipeline at scale smoke: dvc repro in pipelines/smoke"
	@cd pipelines/smoke && dvc repro
	@echo ""
	@echo "Done. The numbers of this scale mean nothing; every step has run. Where to look next:"
	@echo "  pipelines/smoke/reports/smoke/synthetic/         the notebooks as they ran"
	@echo "  make repro                                       the same, trained for real"

mocap: $(STAMP)
	@echo "Running the pipeline at scale lesson on motion capture: dvc repro in pipelines/mocap"
	@$(READ_MOCAP_ROOT) \
	python -m di2pose_lib.source_record pipelines/mocap/params.yaml && cd pipelines/mocap && dvc repro
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  pipelines/mocap/reports/lesson/mocap/            the notebooks as they ran"
	@echo "  results/lesson/mocap/evaluation.json             every measured number"

paper: $(STAMP)
	@echo "Running the pipeline at the paper's sizes: dvc repro in pipelines/paper"
	@cd pipelines/paper && dvc repro
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  pipelines/paper/reports/paper/synthetic/         the notebooks as they ran"
	@echo "  pipelines/paper/results/paper/synthetic/         every measured number"

ablations: $(STAMP)
	@echo "Running what is missing of the ablations: dvc repro in pipelines/ablations"
	@$(READ_MOCAP_ROOT) \
	python -m di2pose_lib.ablation_runs --plan && cd pipelines/ablations && dvc repro \
	    && cd ../ledger && dvc repro
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  pipelines/ablations/reports/lesson/synthetic/07_ablations.ipynb   the tables, with verdicts"

occlusion: $(STAMP)
	@echo "Running what is missing of the protocols of occlusion: dvc repro in pipelines/protocols"
	@$(READ_MOCAP_ROOT) \
	python -m di2pose_lib.protocol_runs --plan && cd pipelines/protocols && dvc repro \
	    && cd ../ledger && dvc repro
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  results/lesson/synthetic/sweeps.json             errors under masks, crops and occluders"
	@echo "  results/lesson/synthetic/advocc.json             and under the worst patch"
	@echo "  results/ledger.csv                               the papers' numbers and claims, ours beside"

ledger: $(STAMP)
	@echo "Making the ledger from the committed results: dvc repro in pipelines/ledger"
	@cd pipelines/ledger && dvc repro
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  results/ledger.csv                               the papers' numbers and claims, ours beside"

# `-m ""`: the slow tests too, which a bare `pytest` leaves out. Those that break notebooks
# come last, for they start from what the notebooks have put in scratch/.
test: $(STAMP)
	@echo "Checking style, then unit tests, smoke runs of the pipeline, and every notebook"
	ruff check
	ruff format --check
	@echo "(what notebooks run by hand have made at scale smoke in scratch/ is made anew)"
	rm -rf scratch/artifacts/smoke scratch/checkpoints/smoke
	DI2POSE_SCRATCH_ONLY=1 pytest -m "" --nbval-lax --nbval-current-env --nbval-cell-timeout 900 \
	    --ignore tests/test_notebook_mutations.py tests notebooks
	DI2POSE_SCRATCH_ONLY=1 pytest -m "" tests/test_notebook_mutations.py

kill-test: $(STAMP)
	@echo "Killing DVC, papermill and kernels while the smoke pipeline runs (a few minutes)"
	pytest -m "" -s tests/test_kill_pipeline.py

lab: $(STAMP)
	@echo "Starting JupyterLab at notebooks/00_start_here.ipynb (Ctrl-C twice ends it)"
	@jupyter lab notebooks/00_start_here.ipynb

clean:
	rm -rf scratch
	@echo "Removed scratch/. Artefacts and results of pipelines stay; .venv too."

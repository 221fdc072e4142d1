# Every command that this repository documents; `make help` lists them.
#
#   PYTHON=/path/to/python3.11   the Python to build .venv with (3.11.5 or newer, or 3.12)
#   MOCAP_ROOT=/path/to/bvh      the motion capture that mocap, ablations and occlusion read
#
# For GNU make from 3.81 and any POSIX shell.

.DEFAULT_GOAL := help
.PHONY: help install repro smoke mocap paper ablations occlusion ledger site site-tools test kill-test lab clean
.NOTPARALLEL:

ifeq ($(wildcard di2pose_lib/__init__.py),)
$(error make must run in the checkout: make -C <folder>)
endif
ifneq ($(findstring :,$(CURDIR)),)
$(error the path of the checkout must hold no colon, for PATH cannot carry it; got $(CURDIR))
endif

# What a user has set for other work changes nothing here. Where packages come from
# (PIP_INDEX_URL, …), threads and GPUs stay as they are set.
unexport CDPATH ENV BASH_ENV GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_PREFIX
unexport JUPYTER_PATH JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR JUPYTER_PLATFORM_DIRS
unexport MPLBACKEND MATPLOTLIBRC PLOTLY_RENDERER
unexport PYTEST_ADDOPTS PYTEST_PLUGINS PYTEST_DISABLE_PLUGIN_AUTOLOAD
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_REQUIREMENT PIP_CONSTRAINT PIP_DRY_RUN
unexport PIP_REQUIRE_HASHES PIP_NO_DEPS PIP_UPGRADE PIP_IGNORE_INSTALLED PIP_PLATFORM
unexport DI2POSE_STAGE DI2POSE_PARAMS_FILE DI2POSE_SCRATCH_ONLY MOCAP_ROOT
unexport $(filter BASH_FUNC_% PYTHON%,$(.VARIABLES))
unexport $(filter-out DVC_SITE_CACHE_DIR,$(filter DVC_%,$(.VARIABLES)))
override PATH := $(CURDIR)/.venv/bin:$(value PATH)
override PYTHONUTF8 := 1
override PIP_USER := 0
override JUPYTER_PREFER_ENV_PATH := 1
override IPYTHONDIR := $(CURDIR)/scratch/ipython
override DVC_NO_ANALYTICS := 1
override DVC_GLOBAL_CONFIG_DIR := $(CURDIR)/scratch/no-config
override DVC_SYSTEM_CONFIG_DIR := $(CURDIR)/scratch/no-config
export PATH PYTHONUTF8 PIP_USER JUPYTER_PREFER_ENV_PATH IPYTHONDIR
export DVC_NO_ANALYTICS DVC_GLOBAL_CONFIG_DIR DVC_SYSTEM_CONFIG_DIR
# OpenMP's waiting threads soon sleep: with other work on the machine they would block it.
export GOMP_SPINCOUNT := 2000
# As given: a `$` in them is not make's.
export PYTHON_GIVEN := $(value PYTHON)
export MOCAP_ROOT_GIVEN := $(value MOCAP_ROOT)

# Some users have no name (`docker run --user`), no home to write to, or no part in the folder
# that DVC shares between users.
SHELL := /bin/sh
LACKING := $(shell \
    [ -n "$$LOGNAME$$USER" ] || id -un >/dev/null 2>&1 || echo name; \
    [ -n "$$HOME" ] && [ -d "$$HOME" ] && [ -w "$$HOME" ] || echo home; \
    [ -n "$$DVC_SITE_CACHE_DIR" ] || [ -w /var/tmp/dvc/repo ] \
        || { [ ! -e /var/tmp/dvc ] && [ -w /var/tmp ]; } || echo shared)
ifneq ($(filter name,$(LACKING)),)
export LOGNAME := nobody
endif
ifneq ($(filter home,$(LACKING)),)
export HOME := $(CURDIR)/scratch/home
endif
ifneq ($(filter shared,$(LACKING)),)
export DVC_SITE_CACHE_DIR := $(CURDIR)/scratch/dvc
endif

# Renamed whenever the pins or the folder change, so that an up-to-date installation costs nothing.
STAMP := .venv/installed-$(shell \
    { cat requirements.txt pyproject.toml; pwd -P; } | cksum | cut -d ' ' -f 1)
ifneq ($(shell { .venv/bin/python -I -c 'import pip' || echo broken; } 2>/dev/null),)
.PHONY: $(STAMP)  # .venv is not there, or the Python under it is not any more
endif
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)
PY := .venv/bin/python
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
DVC := SHELL=/bin/sh $(PY) -m dvc
# Two at a time with a thread each: most tests are too small to use a second one.
PYTEST := OMP_NUM_THREADS=1 DI2POSE_SCRATCH_ONLY=1 $(PY) -m pytest -m "" -n 2 --dist loadfile \
    --no-loadscope-reorder

# Shell: what `MOCAP_ROOT=` says, if it is said, for the command after it.
define READ_MOCAP_ROOT
if [ -n "$$MOCAP_ROOT_GIVEN" ]; then \
    DI2POSE_MOCAP_ROOT="$$($(PY) -c \
        'import os; print(os.path.expanduser(os.environ["MOCAP_ROOT_GIVEN"]))')"; \
    export DI2POSE_MOCAP_ROOT; \
    if [ ! -d "$$DI2POSE_MOCAP_ROOT" ]; then \
        printf 'error: MOCAP_ROOT must be a folder of BVH files; got %s\n' "$$MOCAP_ROOT_GIVEN" >&2; \
        exit 1; \
    fi; \
fi;
endef

# Python, in .venv: the library is that of the checkout around it, found upwards so that it moves
# along; programs that were installed in another folder start with the Python of this one.
define SET_UP
import shlex, sys, sysconfig
from importlib.metadata import entry_points
from pathlib import Path
Path(sysconfig.get_path("purelib"), "di2pose_lib.pth").write_text("../../../..\n")
made, here = sys.argv[1:]
for program in entry_points(group="console_scripts") if made != here else ():
    path = Path(sysconfig.get_path("scripts"), program.name)
    if path.is_file():
        path.write_text(f"""#!/bin/sh
'''exec' {shlex.quote(sys.executable)} "$$0" "$$@"
' '''
import sys
from {program.module} import {program.attr.split(".")[0]}
sys.exit({program.attr}())
""")
endef
export SET_UP

help:
	@echo "make repro   everything, from poses to evaluation, at scale lesson (under an hour)"
	@echo "make smoke   the same at scale smoke: the whole pipeline, tiny (minutes)"
	@echo "make mocap   scale lesson on real motion capture; MOCAP_ROOT=<folder of BVH files>"
	@echo "make paper   the paper's sizes; needs a GPU, not run yet"
	@echo "make ablations   the paper's Tables 3 to 5 and ours (hours; continues where it was)"
	@echo "make occlusion   masks, crops, occluders, AdvOcc, three seeds (hours; continues), the ledger"
	@echo "make ledger  results/ledger.csv from the committed results: each number and claim (seconds)"
	@echo "make site    notebooks as they ran, results and claims as pages that need no network: site/"
	@echo "make site-tools   Chromium for the site's pictures and its test (Debian and Ubuntu, as root)"
	@echo "make lab     JupyterLab, at the notebook to start with"
	@echo "make test    style, unit tests, notebooks, the smoke pipeline killed midway"
	@echo "make kill-test   kill -9 of the running smoke pipeline alone; KILL_SEED=1 for other moments"
	@echo "make install the pinned packages in .venv, and nothing else"
	@echo "make clean   remove scratch/, what notebooks made that were run by hand"
	@echo ""
	@echo "Each (but clean) creates .venv with the pinned packages when it is missing."

# DVC asks for git: where this is no clone (a ZIP, a Docker image), .dvc/config.local says so. That
# goes when git comes: it would end `dvc exp run`.
install: $(STAMP)
	@mkdir -p "$$HOME"; \
	git=false; \
	if [ -e .git ] || git ls-files --error-unmatch dvc.yaml >/dev/null 2>&1; then git=true; fi; \
	none=false; \
	if grep -qs '^ *no_scm *= *true' .dvc/config.local; then none=true; fi; \
	case $$git-$$none in \
	    true-true) $(DVC) config --local --unset core.no_scm;; \
	    false-false) $(DVC) config --local core.no_scm true;; \
	esac

# .venv/made-by-make says in which folder.
$(STAMP):
	@set -eu; \
	refuse() { printf 'error: %s; then make %s\n' "$$1" '$(MAKECMDGOALS)' >&2; exit 1; }; \
	here="$$(pwd -P)"; mark=.venv/made-by-make; made="$$(cat "$$mark" 2>/dev/null || :)"; \
	if [ ! -e .venv ] || { [ -d .venv ] && [ -z "$$(ls -A .venv)" ]; }; then \
	    mkdir -p .venv; made="$$here"; printf '%s\n' "$$here" > "$$mark"; \
	elif [ -L .venv ] && [ "$$made" != "$$here" ]; then \
	    refuse ".venv is a link to another checkout's: remove the link"; \
	elif [ ! -f "$$mark" ]; then \
	    ls .venv/installed-* >/dev/null 2>&1 || refuse ".venv was not made by make: rename it"; \
	    : > "$$mark"; \
	fi; \
	busy=.venv/installing; other="$$(cat "$$busy" 2>/dev/null || :)"; \
	if [ -n "$$other" ] && kill -0 "$$other" 2>/dev/null; then \
	    refuse "process $$other is installing into .venv: wait for it, or remove $$busy"; \
	fi; \
	echo $$$$ > "$$busy"; trap 'rm -f "$$busy"' EXIT; \
	if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    PATH="$${PATH#*:}"; \
	    case "$$PYTHON_GIVEN" in \
	        '') set -- python3.11 python3.12 python3;; \
	        '~/'*) set -- "$$HOME/$${PYTHON_GIVEN#??}";; \
	        *) set -- "$$PYTHON_GIVEN";; \
	    esac; \
	    for candidate; do \
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
	    find .venv/. ! -name . -prune ! -name made-by-make ! -name installing -exec rm -rf {} +; \
	    "$$found" -m venv .venv; \
	elif [ "$$made" != "$$here" ]; then \
	    $(PY) -m venv --without-pip .venv; \
	fi; \
	rm -f .venv/installed-*; \
	echo "Installing the pinned packages into .venv (a few minutes the first time)"; \
	$(PIP_INSTALL) $(TORCH); \
	$(PIP_INSTALL) -r requirements.txt; \
	$(PY) -m pip uninstall --quiet --yes di2pose_lib 2>/dev/null; \
	$(PY) -c "$$SET_UP" "$$made" "$$here"; \
	printf '%s\n' "$$here" > "$$mark"; \
	touch $(STAMP)

repro: install
	@echo "Running the pipeline at scale lesson on synthetic data: dvc repro"
	@$(DVC) repro
	@echo ""
	@$(PY) -m studies.reproduction
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  reports/lesson/synthetic/00_start_here.ipynb     the notebooks as they ran, in JupyterLab"
	@echo "  results/lesson/synthetic/evaluation.csv.gz       every measured number"
	@echo "  .venv/bin/dvc metrics show                       the few that matter"
	@echo "  make lab                                         open and change the notebooks"

smoke: install
	@echo "Running the pipeline at scale smoke: dvc repro, pipelines/dvc.yaml"
	@$(DVC) repro --glob 'pipelines/dvc.yaml:*@smoke'
	@echo ""
	@echo "Done. The numbers of this scale mean nothing; every step has run. Where to look next:"
	@echo "  reports/smoke/synthetic/                         the notebooks as they ran"
	@echo "  make repro                                       the same, trained for real"

mocap: install
	@echo "Running the pipeline at scale lesson on motion capture: dvc repro, pipelines/dvc.yaml"
	@$(READ_MOCAP_ROOT) \
	$(PY) -m di2pose_lib.data.source_record pipelines/mocap.yaml \
	    && $(DVC) repro --glob 'pipelines/dvc.yaml:*@mocap'
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  reports/lesson/mocap/                            the notebooks as they ran"
	@echo "  results/lesson/mocap/                            every measured number"

paper: install
	@echo "Running the pipeline at the paper's sizes: dvc repro, pipelines/dvc.yaml"
	@$(DVC) repro --glob 'pipelines/dvc.yaml:*@paper'
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  reports/paper/synthetic/                         the notebooks as they ran"
	@echo "  results/paper/synthetic/                         every measured number"

ablations: install
	@echo "Running what is missing of the ablations"
	@$(READ_MOCAP_ROOT) \
	$(PY) -m studies.ablation_runs && $(DVC) repro studies/dvc.yaml:ablations \
	    && $(DVC) repro --single-item studies/dvc.yaml:ledger studies/dvc.yaml:claims
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  reports/lesson/synthetic/07_ablations.ipynb      the tables, with verdicts"

occlusion: install
	@echo "Running what is missing of the protocols of occlusion"
	@$(READ_MOCAP_ROOT) \
	$(PY) -m studies.protocol_runs && $(DVC) repro --single-item studies/dvc.yaml:ledger studies/dvc.yaml:claims
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  results/studies/occlusion, advocc                errors under occlusion, and the worst patch"
	@echo "  results/ledger.csv                               the papers' numbers and claims, ours beside"

ledger: install
	@echo "Making the ledger from the committed results"
	@$(DVC) repro --single-item studies/dvc.yaml:ledger studies/dvc.yaml:claims
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  results/ledger.csv                               the papers' numbers and claims, ours beside"

site: install
	@echo "Making the site from the executed notebooks and results there are (about a minute)"
	@$(DVC) repro studies/dvc.yaml:site
	@echo ""
	@echo "Done. Where to look next:"
	@echo "  site/index.html                                  by double click, with no network"

# Elsewhere any Chromium or Chrome that is in PATH does.
site-tools:
	@if command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1; then \
	    echo "Chromium is there"; \
	elif ! { apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
	    >/dev/null 2>&1; then \
	    echo "Chromium cannot be had: the site has no pictures on its index, and its test is skipped"; \
	fi

# `-m ""`: the slow tests too, which a bare `pytest` leaves out. Those that break notebooks
# come last, for they start from what the notebooks have put in scratch/.
test: install
	@echo "Checking style, then unit tests, smoke runs of the pipeline, and every notebook"
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	@echo "(what notebooks run by hand have made at scale smoke in scratch/ is made anew)"
	rm -rf scratch/artifacts/smoke scratch/checkpoints/smoke
	$(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout 900 \
	    --ignore tests/test_notebook_mutations.py tests notebooks
	$(PYTEST) --dist load tests/test_notebook_mutations.py

kill-test: install
	@echo "Killing DVC, papermill and kernels while the smoke pipeline runs (a few minutes)"
	$(PY) -m pytest -m "" -s tests/test_kill_pipeline.py

lab: install
	@echo "Starting JupyterLab at notebooks/00_start_here.ipynb (Ctrl-C twice ends it)"
	@$(PY) -m jupyterlab $$([ "$$(id -u)" != 0 ] || echo --allow-root) notebooks/00_start_here.ipynb

clean:
	rm -rf scratch
	@echo "Removed scratch/. Artefacts and results of pipelines stay; .venv too."

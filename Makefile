# make demo   from nothing to a trained model on the embedded data set (no compiler, no data)
# make test   the rest of the dependencies (mmdet, mmcv's compiled operators) and the whole test suite,
#             by two processes of up to 3 GB each (JOBS=8 for eight)
# make bench  the benchmark suite against mmpretrain, torchvision, lightly and kornia (a quarter of an hour on an idle machine)
# make transfer-demo  a small detector on few labels, from the demo's checkpoint and from random weights
# All are idempotent: installs are skipped until setup.cfg, constraints.txt or pyproject.toml change.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test bench transfer-demo lint install install-test install-bench

demo: install
	$(PY) tools/demo.py

test: install-test
	$(PY) -m pytest -n $(JOBS) --dist worksteal

bench: install-bench
	$(PY) -m benchmarks

transfer-demo: install-test
	$(PY) benchmarks/transfer_demo.py

lint: install-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

install: $(VENV)/.pretrain
install-test: $(VENV)/.test
install-bench: $(VENV)/.bench

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "viewplug needs Python 3.10 or newer; try make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "could not make $(VENV); on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.pretrain: $(VENV)/bin/python $(INPUTS)
	@echo "Installing what pre-training needs into $(VENV) (about 5 GB, minutes; once)"
	$(PIP) --upgrade pip
	$(PIP) setuptools wheel torch torchvision numpy
	$(PIP) -e '.[onedl,tensorboard]'
	@$(PY) tools/check_opencv.py
	@touch $@

$(VENV)/.test: $(VENV)/.pretrain
	$(PIP) -e '.[onedl,det,seg,tensorboard,test]' ninja psutil
	$(PY) tools/install_mmcv_ops.py
	@touch $@

$(VENV)/.bench: $(VENV)/.pretrain
	$(PIP) -e '.[onedl,bench]'
	@touch $@

# make demo: set up and run the main job on synthetic images; make test: set up and run the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint wheel-check clean

setup: $(VENV)/.ready

$(VENV)/.ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -e '.[dev]'
	@# As pip would, but on all cores and without packages' own tests; they may hold files of other Pythons.
	$(BIN)/python -m compileall -qq -j 0 -x /tests/ $(VENV)/lib || true
	touch $@

demo: $(VENV)/.ready
	$(BIN)/rcnn-svm synthesize --out cache/demo/VOCdevkit
	$(BIN)/rcnn-svm run --voc cache/demo/VOCdevkit --classes "$$($(BIN)/rcnn-svm synthesize --names)" \
		--crop-size 128 --max-boxes 400 --out cache/demo/run

# A process a core: threads of theirs would wait for each other.
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov --cov-report=

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The package as its users have it: a wheel, installed in an environment and a folder of its own, with any Python
# (make wheel-check PYTHON=python3.13). It takes 6 GB for a while, most of them torch.
wheel-check:
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	rm -rf build; $(PYTHON) -m venv "$$folder/venv"; . "$$folder/venv/bin/activate"; \
	python -m pip wheel --quiet --no-deps --wheel-dir "$$folder" .; \
	python -m pip install --quiet --no-compile "$$folder"/*.whl; \
	cd "$$folder"; python --version; \
	rcnn-svm --help >help.txt; \
	rcnn-svm parity; \
	rcnn-svm synthesize --train 12 --test 4 --out devkit; \
	rcnn-svm run --voc devkit --classes "$$(rcnn-svm synthesize --names)" --preset quick --crop-size 64 \
		--max-boxes 100 --pictures 2 --out run; \
	rcnn-svm detect devkit/VOC2007/JPEGImages/000001.jpg --model run/detector.h5 --out found; \
	rcnn-svm toy --out toy.html

clean:
	rm -rf $(VENV) cache/demo

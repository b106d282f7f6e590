# make demo: set up and run the main job on synthetic images; make test: set up and run the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint clean

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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) cache/demo

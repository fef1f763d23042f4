# `make demo` runs the whole loop on a drawn study, `make test` the tests; both build .venv first if it is not there.

PYTHON ?= python3
BIN := .venv/bin
DEMO := build/demo

.PHONY: demo test lint docs samples clean

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qpkit needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[train,dev]'
	touch $@

test: .venv/.installed
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs: .venv/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

samples: .venv/.installed
	rm -rf samples/study
	$(BIN)/python samples/make_samples.py samples/study

demo: .venv/.installed
	rm -rf $(DEMO)
	$(BIN)/python samples/make_samples.py $(DEMO)/study
	$(BIN)/qpkit export $(DEMO)/study -o $(DEMO)/tiles --labels $(DEMO)/study/labels.toml \
		--split metadata:Split --tile-size 256 --tissue otsu
	$(BIN)/qpkit train $(DEMO)/tiles -o $(DEMO)/run --recipe unet-resnet18 --set optim.epochs=6
	$(BIN)/qpkit predict $(DEMO)/run $(DEMO)/study --entry patient_D.tif -o $(DEMO)/predictions --probabilities
	$(BIN)/qpkit import-predictions $(DEMO)/predictions $(DEMO)/study --min-area-um2 100 --simplify-um 0.5
	$(BIN)/qpkit evaluate $(DEMO)/predictions $(DEMO)/study -o $(DEMO)/evaluation
	@echo "Look at $(DEMO)/evaluation/patient_D.tif.png, or open $(DEMO)/study/project.qpproj in QuPath."

clean:
	rm -rf build site samples/study

# `make demo` sets up and transcribes a recording while it plays; `make test` sets up and checks everything;
# `make test-long` tries the properties on twenty times as many examples, and runs the tests marked `long` too;
# `make docs` builds the documentation as a site, in site/.
VENV = .venv
PYTHON ?= python3
BIN = $(VENV)/bin
READY = $(VENV)/ready
PYTEST = $(BIN)/pytest --numprocesses=auto --dist=worksteal

.PHONY: demo checks test test-long docs recordings clean

demo: $(READY)
	$(BIN)/simul-whisper transcribe demos/recordings/lighthouse.flac --realtime --times

checks: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: checks
	$(PYTEST)

test-long: checks
	$(PYTEST) --hypothesis-profile=long -m ""

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

recordings: $(READY)
	$(BIN)/pip install --quiet ".[recordings]"
	$(BIN)/python demos/recordings/speak.py

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --upgrade pip
	$(BIN)/pip install --editable ".[cpu,embedded,coreml,bench,live,translate,voice,dev]"
	# Reads our metrics log in a test; its own requirements, PyTorch among them, are not needed for that.
	$(BIN)/pip install --no-deps simulstream==1.0.0
	touch $(READY)

clean:
	rm -rf $(VENV) build site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

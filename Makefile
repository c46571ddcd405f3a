# `make demo` sets up and transcribes a recording while it plays; `make test` sets up and checks everything;
# `make test-long` tries the properties on twenty times as many examples, and runs the tests marked `long` too;
# `make test-clients` sets up what clients need that have requirements of their own, and tests with all there are;
# `make docs` builds the documentation as a site, in site/.
VENV = .venv
PYTHON ?= python3
BIN = $(VENV)/bin
READY = $(VENV)/ready
CLIENTS = .venv-clients
# As they say themselves, they need PyTorch; what the tests use of them does not.
LIGHT = simulstream==1.0.0 whisper-live==0.10.0 \
	"whisperlivekit==0.2.26; python_version >= '3.11' and python_version < '3.14'"
PYTEST = $(BIN)/pytest --numprocesses=auto --dist=worksteal

.PHONY: demo checks test test-long test-clients docs recordings clean

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

test-clients: $(CLIENTS)/ready
	$(CLIENTS)/bin/pytest tests/clients

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

recordings: $(READY)
	$(BIN)/pip install --quiet ".[recordings]"
	$(BIN)/python demos/recordings/speak.py

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --upgrade pip
	$(BIN)/pip install --editable ".[cpu,embedded,coreml,bench,live,translate,voice,voxtral,ray,trace,clients,dev]"
	$(BIN)/pip install --no-deps $(LIGHT)
	touch $(READY)

$(CLIENTS)/ready: pyproject.toml tests/clients/package.json
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --upgrade pip
	$(CLIENTS)/bin/pip install --editable ".[cpu,embedded,live,translate,clients,agents,dev]"
	$(CLIENTS)/bin/pip install --no-deps $(LIGHT)
	# Without npm, the tests of clients for node are skipped.
	if command -v npm >/dev/null; then npm install --prefix tests/clients --no-audit --no-fund; fi
	touch $(CLIENTS)/ready

clean:
	rm -rf $(VENV) $(CLIENTS) tests/clients/node_modules build site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The course's verbs. Each sets up all it needs: a virtual environment in .venv with the pinned packages of requirements.txt.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready

.PHONY: course test test-pages test-quick check holds notebooks study sweep-engine sweep-test bench site site-test lock address clean

course: $(READY)  ## run all five notebooks at full size, into runs/full; quick where nothing has changed
	$(BIN)/dae-keras run

test: check  ## everything CI runs: check, then side by side the committed notebooks, and the course in small with all that README promises of it
	$(MAKE) --jobs=2 test-pages test-quick

test-pages: $(READY)
	$(BIN)/pytest -q --nbval notebooks

# The pages take longest: the rest gives way to them, and shares the cores when they are done.
test-quick: $(READY)
	rm -rf runs/test
	nice $(BIN)/dae-keras run --profile quick -p run_dir runs/test
	nice $(BIN)/pytest -q -n 2 --dist loadgroup -m "course or slow"
	rm -rf runs/test

check: $(READY)  ## the fast part: formatting, lint, notebooks in step, unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pytest -q -n 2

holds: $(READY)  ## try every kind of fault, each in many cases, in about an hour; writes the counts into docs/reliability.md
	$(BIN)/pytest -q -n 2 -m kind --reliability=docs/reliability.md

notebooks: $(READY)  ## run the notebooks at full size for their committed outputs, and bring tables, README and every figure in prose in step
	$(BIN)/jupytext --quiet --to ipynb --update notebooks/*.py
	$(BIN)/python -m dae_keras.pages 01_data 02_dae 03_dcae 04_vae 05_compare
	$(BIN)/python -m dae_keras.exercise_copies
	cp runs/full/denoised.png notebooks/images/

study: sweep-engine  ## repeat the heavy runs behind notebooks/tables, which are sweeps: about four hours on two cores; then make notebooks
	$(BIN)/dae-keras study

# The engine of `dae-keras sweep` has an environment of its own.
SWEEP := build/sweep
SWEEP_READY := $(SWEEP)/ready

sweep-engine: $(READY) $(SWEEP_READY)  ## install Snakemake, which dae-keras sweep calls, into build/sweep/.venv

sweep-test: sweep-engine  ## try sweeps: killed, on two Slurm nodes of this machine, over ssh, and as Kubernetes would run them
	$(BIN)/pytest -q -rs -m engine tests/test_sweep_engine.py

$(SWEEP_READY): params/sweeps/requirements.txt
	mkdir -p $(SWEEP)
	test -x $(SWEEP)/.venv/bin/python || $(PYTHON) -m venv $(SWEEP)/.venv
	$(SWEEP)/.venv/bin/python -m pip install --quiet --disable-pip-version-check -r params/sweeps/requirements.txt
	touch $(SWEEP_READY)

bench: $(READY)  ## time the course against PyTorch, JAX and stock Keras: writes benchmarks/RESULTS.md, in half an hour to an hour
	test -x benchmarks/.venv/bin/python || $(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/run.py

# The site has an environment of its own, and the course's only where there are trained models to export for its demo.
SITE := build/site
SITE_READY := $(SITE)/ready
TRAINED := $(foreach name,DAE DCAE DCAE_skip VAE,runs/full/checkpoints/$(name).keras)
HAVE_TRAINED := $(if $(filter $(words $(TRAINED)),$(words $(wildcard $(TRAINED)))),yes)

site: $(SITE_READY) $(if $(HAVE_TRAINED),$(SITE)/models/demo.json)  ## build the course's site from the committed notebooks, into build/site/html; with the live demo where runs/full has models
	$(if $(HAVE_TRAINED),,rm -rf $(SITE)/models)
	$(SITE)/.venv/bin/python docs/build.py

site-test: site  ## open every page of it in Chromium without a window, and use the demo
	$(SITE)/.venv/bin/pytest -q -p no:cacheprovider -c docs/tests/pytest.ini docs/tests

$(SITE)/models/demo.json: $(TRAINED) $(wildcard runs/full/checkpoints/DCAE_all_levels.keras) docs/demo/export.py dae_keras/export.py $(SITE_READY) $(READY)
	$(BIN)/python docs/demo/export.py

$(SITE_READY): docs/requirements.txt docs/package-lock.json
	@test -n "$(PYTHON)" || { echo "make: the site needs Python 3.11, 3.12 or 3.13; none was found. Name one: make PYTHON=/path/to/python3.12 site"; exit 1; }
	@command -v npm > /dev/null || { echo "make: the site takes MathJax and ONNX Runtime from npm, and npm was not found: install Node.js, then make site"; exit 1; }
	mkdir -p $(SITE)
	test -x $(SITE)/.venv/bin/python || $(PYTHON) -m venv $(SITE)/.venv
	$(SITE)/.venv/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	cp docs/package.json docs/package-lock.json $(SITE)
	npm ci --prefix $(SITE) --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $(SITE_READY)

lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --upgrade --no-header --annotation-style line --python-version 3.11 --extra dev pyproject.toml -o requirements.txt

address:  ## write the address of your copy into every place that names it: make address REPO=owner/name
	$(PYTHON) dae_keras/address.py $(REPO)

clean:  ## remove what the other verbs made, except data and runs
	rm -rf .venv benchmarks/.venv build *.egg-info .pytest_cache .ruff_cache

$(READY): requirements.txt pyproject.toml Makefile
	@test -n "$(PYTHON)" || { echo "make: this course needs Python 3.11, 3.12 or 3.13; none was found. Name one: make PYTHON=/path/to/python3.12 course"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
# Else the kernels' threads spread their memory over ten arenas and more: see dae_keras/process_memory.py.
	$(BIN)/python -m ipykernel install --sys-prefix --env MALLOC_ARENA_MAX 2 > /dev/null
	touch $(READY)

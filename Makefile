# Every target makes .venv first if need be.  PYTHON=/path/to/python chooses the
# interpreter, VENV=dir another folder, WORKDIR=dir and ARGS="--steps=50" are the run's:
# other ARGS need another WORKDIR, which holds one configuration.  EXTRA=cuda12, cuda13 or
# tpu adds an accelerator to .venv, which then keeps it.

VENV := .venv
WORKDIR ?= runs/lazy_gap
PYTHON ?=
ARGS ?=
EXTRA ?=

SUPPORTED := import sys, venv, ensurepip; assert (3, 11) <= sys.version_info < (3, 14)
WHICH := import sys; print(*sys.version_info[:3], *sys.base_prefix.split(), sep='/')
CONSTRAINTS := $(wildcard constraints/*.txt)

py := $(VENV)/bin/python
pip := $(py) -m pip --disable-pip-version-check install --quiet --no-deps

# A .venv whose interpreter has gone, or is not the PYTHON that is asked for, is made anew.
have := $(shell $(py) -c "$(WHICH)" 2>/dev/null)
want := $(if $(PYTHON),$(shell $(PYTHON) -c "$(WHICH)" 2>/dev/null),$(have))
stale := $(if $(filter $(have),$(want)),,stale)

.PHONY: run test bench lint venv clean stale
.DELETE_ON_ERROR:

run: venv
	$(py) -m experiments.lazy_gap --workdir=$(WORKDIR) $(ARGS)

test: lint
	$(py) -m pytest --numprocesses=2 --dist=worksteal $(ARGS)

bench: venv
	$(py) -m benchmarks.lazy_gap $(ARGS)
	$(py) -m benchmarks.ntk
	$(py) -m benchmarks.equilibria

lint: venv
	$(py) -m ruff check
	$(py) -m ruff format --check
	$(py) -m pyrefly check --python-interpreter-path=$(py)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

venv: $(VENV)/.project $(EXTRA:%=$(VENV)/.extra-%)

# The plugin of the JAX that is pinned, with the libraries that it asks for.
$(VENV)/.extra-%: $(VENV)/.project
	@$(py) -m pip --disable-pip-version-check install --quiet \
	    "jax[$*] == $$($(py) -c 'import jax; print(jax.__version__)')"
	@touch $@

# Both stamps are written last: an installation that was interrupted starts over.
$(VENV)/.project: pyproject.toml $(VENV)/.pins
	@$(pip) --no-build-isolation --editable .
	@touch $@

$(VENV)/.pins: $(CONSTRAINTS) $(stale)
	@set -eu; \
	for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	    "$$python" -c "$(SUPPORTED)" 2>/dev/null && break; \
	    python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "No Python 3.11, 3.12 or 3.13 with venv and ensurepip runs as" \
	        "$(or $(PYTHON),python3.13 python3.12 python3.11 or python3); give PYTHON=/path/to/python." >&2; \
	    exit 1; \
	fi; \
	end=$$("$$python" -c "import sys; print('3.11' if sys.version_info < (3, 12) else '3.12')"); \
	echo "$(VENV): $$("$$python" --version), constraints/python$$end.txt"; \
	rm -f "$(VENV)/.pins"; \
	rm -rf "$(VENV)"; \
	"$$python" -m venv "$(VENV)"; \
	$(pip) --requirement "constraints/python$$end.txt"; \
	touch $@

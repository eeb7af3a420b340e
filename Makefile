# Builds and checks aiolots. On a fresh machine Python 3.11 or newer and a C compiler are enough: `make demo` or
# `make test` fetch the rest from PyPI into .venv (and .venvs/3.12, ... for the other Pythons that are installed).
# The environment variables AIOLOTS_PARKER, _SANITIZE, _DEBUG and _WERROR choose a flavour: see tools/build_core.py.

PY = .venv/bin/python
MATRIX = 3.11 3.12 3.13
DEMO_ARGS =
DEMO_SMOKE = --seconds 3
SECONDS_ = 30
PYTEST_ARGS =
BENCH_ARGS =
MUTANTS_ARGS =
COVERAGE_ARGS = --missing
PROOF_ARGS =
SANITIZERS_ARGS =
SCOREBOARD_ARGS =

FREETHREADED_SCRIPT = ../shared/tools/freethreaded-python
FREETHREADED = $(HOME)/.cache/aiolots/freethreaded-3.13
FREETHREADED_TESTS = $(wildcard tests/test_contract_*.py tests/test_scenarios_*.py tests/test_regressions_*.py) \
  tests/test_capi.py tests/test_lock_word.py tests/test_stress.py tests/test_fuzz_locks.py tests/test_fuzz_found.py \
  tests/test_audit.py tests/test_living.py tests/test_pytest_plugin.py tests/test_deadlock_check.py tests/test_deadlock_reports.py \
  tests/test_lock_order.py tests/test_lock_timeout_report.py $(wildcard tests/test_tracking*.py) \
  tests/test_troubles.py tests/test_watchdog.py $(wildcard tests/test_console*.py) \
  $(wildcard tests/test_certain_[dgs]*.py tests/test_legal_*.py) tests/test_suspended_guard.py \
  $(wildcard tests/test_native_spares*.py) $(wildcard tests/test_lowlevel_*.py tests/test_compat_[at]*.py)
FREETHREADED_PEERS = aiologic aiorwlock anyio fasteners readerwriterlock matplotlib uvloop ft_utils cereggii

# What the extension is made of. pip is run again when any of it, or the flavour, has changed.
CSRC = $(wildcard csrc/*.[ch] csrc/python/*.[ch])
INPUTS = pyproject.toml tools/build_core.py $(CSRC) .venvs/.flavour
FLAVOUR = parker=$(AIOLOTS_PARKER) sanitize=$(AIOLOTS_SANITIZE) debug=$(AIOLOTS_DEBUG) werror=$(AIOLOTS_WERROR)
INSTALL = -m pip install -q --disable-pip-version-check
BUILDERS = "setuptools>=77" "cffi>=1.17.1"

.PHONY: venv demo test pytest gate matrix freethreaded ctest lint types explore explore-deep explore-bug proof mutants coverage sanitizers stress scoreboard bench bench-freethreaded bench-smoke sdist clean FORCE
.NOTPARALLEL:
.DELETE_ON_ERROR:

venv: .venv/.built

demo: venv
	$(PY) -m aiolots demo $(DEMO_ARGS)

# Everything; what looks at the tree and not at the interpreter runs once, on the default Python.
test: lint types pytest gate matrix freethreaded

pytest: venv
	sh tools/both_fronts.sh $(PY) "" "-m not(once)" "$(PYTEST_ARGS)"
	$(PY) -m aiolots demo $(DEMO_SMOKE)

# What the suite has no time for: two hundred mutants of the core, other ones each day; nine of ten must be noticed.
gate: venv
	$(PY) -m tests.mutants --sample 200 --seed $$(date +%j) --budget 300 --quiet

matrix: venv
	@own=$$($(PY) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(MATRIX); do \
	  [ "$$version" = "$$own" ] && continue; \
	  sh tools/find_python.sh $$version >/dev/null || { echo "== no Python $$version here: skipped"; continue; }; \
	  echo "== Python $$version"; \
	  $(MAKE) --no-print-directory test-$$version || exit 1; \
	done

# One Python of the matrix: `make test-3.13`.
test-%: .venvs/%/.built
	sh tools/both_fronts.sh .venvs/$*/bin/python "-m not(once)" "-m not(once)" "$(PYTEST_ARGS)"
	.venvs/$*/bin/python -m aiolots demo $(DEMO_SMOKE)

# Both fronts on a free-threaded Python with the GIL off, where there is a script that builds one (once, in some minutes).
freethreaded:
	@[ -x $(FREETHREADED_SCRIPT) ] || { echo "== nothing here builds a free-threaded Python: skipped"; exit 0; }; \
	mkdir -p .venvs; $(FREETHREADED_SCRIPT) $(FREETHREADED) > .venvs/freethreaded.log 2>&1 \
	  || { tail -3 .venvs/freethreaded.log; echo "== no free-threaded Python could be built: skipped"; exit 0; }; \
	echo "== free-threaded Python"; \
	$(MAKE) --no-print-directory .venvs/freethreaded/.built \
	  && PYTHON_GIL=0 sh tools/both_fronts.sh .venvs/freethreaded/bin/python "-m not(once)" "-m not(once)" \
	    "$(FREETHREADED_TESTS) $(PYTEST_ARGS)"

# The C tests alone; pytest runs them too, under both parkers.
ctest:
	@[ ! -f tests/c/Makefile ] || $(MAKE) -C tests/c test

lint: venv
	$(PY) -m ruff check .
	$(PY) -m pytest -q tests/test_lint.py

types: venv
	$(PY) -m mypy
	$(PY) -m pyright --project pyproject.toml --pythonpath $(PY)

explore: venv
	$(PY) -m tests.explorer

explore-deep: venv
	$(PY) -m tests.explorer --bound 3

# Every layer of the evidence, one after the other, in under half an hour on two cores; ends with a table. The peers are
# installed for its scoreboard.
proof: venv
	$(PY) $(INSTALL) --no-build-isolation -e ".[bench]"
	$(PY) -m tests.proof $(PROOF_ARGS)

# Succeeds only if the bug of 2025-05-28, compiled in, is found.
explore-bug: venv
	$(PY) -m tests.explorer --bug 465

# Small wrong changes to the core: the explorer or a C test must notice each. Hours; `MUTANTS_ARGS="--sample 60"`: minutes.
mutants: venv
	$(PY) -m tests.mutants $(MUTANTS_ARGS)

# Lines and branches of csrc that the C tests and the explorer run.
coverage: venv
	$(PY) -m tools.coverage $(COVERAGE_ARGS)

# ASan with UBSan, TSan, LeakSanitizer, leak counting: the C tests, the suite and the stress under each. An hour; `--smoke`:
# a quarter of one.
sanitizers: venv
	$(PY) -m tests.sanitizers $(SANITIZERS_ARGS)

stress: venv
	$(PY) -m tests.stress --seconds $(SECONDS_)

# Which lock passes which of the scenarios that broke locks; the peers are installed for it, as for `bench`.
scoreboard: venv
	$(PY) $(INSTALL) --no-build-isolation -e ".[bench]"
	$(PY) -m aiolots.testing.scoreboard $(SCOREBOARD_ARGS)

# Ratios to the peers: Markdown, JSON and the plot in build/bench. Wants a quiet machine; the smoke test does not.
bench: venv
	$(PY) $(INSTALL) --no-build-isolation -e ".[bench]"
	$(PY) -m bench --output build/bench $(BENCH_ARGS)

# The same on another Python: `make bench-3.13`, `make bench-freethreaded` (with the GIL off; once `make freethreaded` built it).
bench-freethreaded: .venvs/freethreaded/.built
	.venvs/freethreaded/bin/python $(INSTALL) --only-binary :all: $(FREETHREADED_PEERS)
	PYTHON_GIL=0 .venvs/freethreaded/bin/python -m bench --output build/bench-freethreaded $(BENCH_ARGS)

bench-%: .venvs/%/.built
	.venvs/$*/bin/python $(INSTALL) --no-build-isolation -e ".[bench]"
	.venvs/$*/bin/python -m bench --output build/bench-$* $(BENCH_ARGS)

bench-smoke: venv
	$(PY) -m bench --smoke $(BENCH_ARGS)

# The sdist, and a wheel that is built from it.
sdist: venv
	$(PY) -m build

clean:
	rm -rf .venv .venvs build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find aiolots -name '*.so' -exec rm -f {} +
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	[ ! -f tests/c/Makefile ] || $(MAKE) -C tests/c clean

.venvs/.flavour: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAVOUR)' | cmp -s - $@ || echo '$(FLAVOUR)' > $@

.venv/.made:
	"$$(sh tools/find_python.sh)" -m venv --clear .venv
	$(PY) $(INSTALL) --upgrade $(BUILDERS)
	@touch $@

.venvs/%/.made:
	"$$(sh tools/find_python.sh $*)" -m venv --clear .venvs/$*
	.venvs/$*/bin/python $(INSTALL) --upgrade $(BUILDERS)
	@touch $@

.venv/.built: .venv/.made $(INPUTS)
	$(PY) $(INSTALL) --no-build-isolation -e ".[test]"
	@touch $@

# Only what is built for it: cffi comes with the interpreter, and what needs aiohttp is left out.
.venvs/freethreaded/.built: $(INPUTS)
	$(FREETHREADED)/bin/python3.13t -m venv --clear --system-site-packages .venvs/freethreaded
	.venvs/freethreaded/bin/python $(INSTALL) --upgrade "setuptools>=77" "pytest>=8.3" "pytest-asyncio>=0.25" "pytest-timeout>=2.3" "hypothesis>=6.100,<6.150" uvloop \
	  "trio>=0.31" "anyio>=4.8" "aiorwlock>=1.5"
	.venvs/freethreaded/bin/python $(INSTALL) --no-build-isolation -e .
	@touch $@

.venvs/%/.built: .venvs/%/.made $(INPUTS)
	.venvs/$*/bin/python $(INSTALL) --no-build-isolation -e ".[suite]"
	@touch $@

.PRECIOUS: .venvs/%/.made .venvs/%/.built

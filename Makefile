# `make run`: a real Image Storage to look at, and the server. `make test`: every test this machine allows.
# `make lab`: several hosts on real shared storage, as each of lab/scenarios describes, or SCENARIO alone;
# `make lab-shell` leaves those of one up.
# `make bench`: how fast it is. `make bench-fleet FLEET="--database postgresql --managers 2"`: a thousand hosts.
# All install what they need into .venv and, as root, from Debian's packages.

.DELETE_ON_ERROR:
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test
READY_LAB := $(VENV)/.ready-lab
SCENARIO ?=
FLEET ?=

.PHONY: run test check bench bench-fleet lab lab-shell clean

run: $(READY)
	@$(BIN)/python -m demo

test: $(READY_TEST) check
	$(BIN)/pytest -n 2 --dist worksteal tests

check: $(READY_TEST)
	$(BIN)/ruff check src tests bench demo lab
	$(BIN)/ruff format --check src tests bench demo lab
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY_TEST)
	$(BIN)/python -m bench

bench-fleet: $(READY_TEST)
	$(BIN)/python -m bench.fleet $(FLEET)

lab: $(READY_LAB)
	$(BIN)/python -m lab $(SCENARIO)

lab-shell: $(READY_LAB)
	$(BIN)/python -m lab --shell $(or $(SCENARIO),lab/scenarios/seed-example.toml)

clean:
	rm -rf $(VENV) build

$(READY): requirements/build.txt requirements/run.txt requirements/libvirt.txt pyproject.toml setup/environment
	setup/environment run
	@touch $@

$(READY_TEST): $(READY) requirements/test.txt
	setup/environment test
	@touch $@

$(READY_LAB): $(READY) setup/environment
	setup/environment lab
	@touch $@

# `make run`: a real Image Storage to look at, and the server. `make test`: every test this machine allows.
# Both install what they need into .venv and, as root, from Debian's packages.

.DELETE_ON_ERROR:
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test

.PHONY: run test check bench clean

run: $(READY)
	@$(BIN)/python -m demo

test: $(READY_TEST) check
	$(BIN)/pytest -n 2 --dist worksteal tests

check: $(READY_TEST)
	$(BIN)/ruff check src tests bench demo
	$(BIN)/ruff format --check src tests bench demo
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY_TEST)
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build

$(READY): requirements/build.txt requirements/run.txt requirements/libvirt.txt pyproject.toml setup/environment
	setup/environment run
	@touch $@

$(READY_TEST): $(READY) requirements/test.txt
	setup/environment test
	@touch $@

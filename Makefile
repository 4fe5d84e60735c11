# `make lab` and `make test` are all that a newcomer needs; `make help` lists the rest.
# Every path is relative: the checkout's own may hold spaces.
PYTHON ?= python3
OUTPUT ?= build/compare
# Each in a process of its own: they have helpers of the same names, and what one leaves in its process is no other's.
TESTS = unit integration security faults differential dropin pythons lab vm molecule
RUN = PYTHONUNBUFFERED=1 .venv/bin/python
# Where .venv came along with a moved or copied checkout, its link leads to the old one, which would be tested instead.
MOVED := $(shell for link in .venv/lib/python3*/site-packages/ansible_collections/ocilab/hosts; do \
  [ -L "$$link" ] && [ "$$(readlink -f "$$link")" != "$$(pwd -P)" ] && echo moved; done)

HOSTS ?= 3
RELEASE ?= bookworm

.PHONY: help lab compare test lint sanity bench labrun lab-up lab-down venv clean check-host packages moved

help:
	@echo "make lab       lab hosts, every engine on each, proven and compared: write build/lab/report.html (root)"
	@echo "make compare   build a bundle, run it in labrun and in every engine found here, write $(OUTPUT)/report.html (root)"
	@echo "make test      lint, and run every test (root; TEST_ENGINES=none installs and needs no engine)"
	@echo "make lint      ansible-lint, ruff, mypy, yamllint, shellcheck, changelog, ansible-test sanity"
	@echo "make bench     hold labrun's speed and memory against runc's and Docker's (root)"
	@echo "make lab-up    start HOSTS=$(HOSTS) lab hosts, systemd machines of Debian RELEASE=$(RELEASE) (root)"
	@echo "make lab-down  remove all lab hosts (root)"
	@echo "make labrun    build the command build/bin/labrun"
	@echo "make clean     remove what make made"

venv: .venv/.run

.venv/.run: requirements.txt constraints.txt scripts/make-venv $(MOVED)
	@scripts/make-venv "$(PYTHON)" requirements.txt
	@touch $@

.venv/.test: .venv/.run requirements-test.txt
	@scripts/make-venv "$(PYTHON)" requirements-test.txt
	@touch $@

check-host:
	@scripts/check-host

compare: check-host .venv/.run
	@PWD="$$(pwd)" ANSIBLE_CONFIG=playbooks/ansible.cfg .venv/bin/python -m ansible playbook ocilab.hosts.compare \
	  -e "compare_output_dir='$(OUTPUT)'"

lab: check-host .venv/.run
	@PWD="$$(pwd)" ANSIBLE_CONFIG=playbooks/ansible.cfg .venv/bin/python -m ansible playbook ocilab.hosts.lab \
	  -e "lab_host_release=$(RELEASE)"

lab-up: check-host .venv/.run
	@PWD="$$(pwd)" ANSIBLE_CONFIG=playbooks/ansible.cfg .venv/bin/python -m ansible playbook ocilab.hosts.lab_up \
	  -e "lab_host_count=$(HOSTS) lab_host_release=$(RELEASE)"

lab-down: check-host .venv/.run
	@PWD="$$(pwd)" ANSIBLE_CONFIG=playbooks/ansible.cfg .venv/bin/python -m ansible playbook ocilab.hosts.lab_down

labrun:
	@/usr/bin/python3 scripts/build_labrun.py build/bin/labrun

packages:
	@scripts/test-packages

lint: .venv/.test
	@scripts/lint

sanity: .venv/.test
	@scripts/sanity

test: packages lint
	@failed=; for folder in $(TESTS); do echo "tests/$$folder"; $(RUN) -m pytest -rs --durations=8 "tests/$$folder" || failed="$$failed $$folder"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

bench: check-host packages .venv/.test
	@$(RUN) tests/benchmarks/bench.py

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .ansible

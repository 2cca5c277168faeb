# make demo   a running system over two Kubernetes clusters, from nothing      (SYSTEM=etcd|nats|cockroachdb, PLACEMENT=node_name|daemonset)
# make test   every check and test                                             (GATES="ruff unit" for some of them; tools/test --list)
# make soak   playbooks in a row, all mutations, then rollouts that are killed at every failpoint and at random times    (SEED=... MINUTES=60 SYSTEM= PLACEMENT=)
# make faults  the last part of the soak: load balancers with every fault at every request    (SEED=... FAULT_MINUTES=60 FAULTS="429 reset-after" RESUME=requests.tsv SYSTEM= PLACEMENT=)
# make lab    only the two Kubernetes clusters
# make bench  seconds, requests, processes and memory with many nodes, beside what else a user would take       (NODES=1000 CLUSTERS=2 ROUNDS=3 CASES="nodes apply")
# make setup  only the virtual environment (.venv) that the playbooks run in
# make docs-site  the documentation as a site: modules, roles, filters and documents   (says where its index.html is)
# make changelog  CHANGELOG.md, from changelogs/fragments and the plugins
# make clean  the lab and what was made in the checkout; caches stay

SYSTEM ?= etcd
PLACEMENT ?= node_name
GATES ?=
SEED ?=
MINUTES ?= 60
NODES ?= 1000
CLUSTERS ?= 2
ROUNDS ?= 3
CASES ?=
FAULT_MINUTES ?= 60
FAULTS ?=
RESUME ?=
PLAYBOOK = .venv/bin/ansible-playbook -i inventories/lab

.DEFAULT_GOAL := help
.PHONY: help demo test soak faults lab bench setup docs-site changelog clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup:
	@tools/setup

lab: setup
	@molecule/lab/lab up

demo: lab
	$(PLAYBOOK) playbooks/deploy.yml -e hostnet_system=$(SYSTEM) -e hostnet_placement=$(PLACEMENT)
	$(PLAYBOOK) playbooks/status.yml -e hostnet_system=$(SYSTEM) -e hostnet_placement=$(PLACEMENT)

test:
	@tools/setup --test
	@.venv/bin/python tools/test $(GATES)

soak: lab
	@tools/setup --test
	@.venv/bin/pytest -q -p no:cacheprovider -m long tests/integration
	@PATH=$(CURDIR)/.venv/bin:$$PATH .venv/bin/python tests/gates/mutations.py --all
	@HOSTNET_SITUATION_SYSTEM=$(SYSTEM) HOSTNET_SITUATION_PLACEMENT=$(PLACEMENT) .venv/bin/pytest -q -s -p no:cacheprovider tests/rollout/test_situations.py tests/rollout/test_disks.py tests/rollout/test_kube_clusters.py
	@.venv/bin/pytest -q -s -p no:cacheprovider tests/rollout/test_neighbours.py tests/rollout/test_disasters.py tests/rollout/test_settings.py tests/rollout/test_clouds.py tests/rollout/test_certificates.py tests/rollout/test_events.py tests/rollout/test_quickstart.py
	@.venv/bin/pytest -q -p no:cacheprovider -m long tests/own_system
	@PYTHONPATH=.ansible/collections:tests .venv/bin/python -m rollout --system $(SYSTEM) --placement $(PLACEMENT) --seed "$(SEED)" --minutes $(MINUTES)
	@.venv/bin/python tests/gates/docs_site.py
	@$(MAKE) faults

faults: lab
	@tools/setup --test
	@PYTHONPATH=.ansible/collections:tests .venv/bin/python -m rollout.faults --system $(SYSTEM) --placement $(PLACEMENT) --seed "$(SEED)" \
	  --minutes $(FAULT_MINUTES) $(addprefix --fault ,$(FAULTS)) $(addprefix --resume ,$(RESUME))
	@.venv/bin/pytest -q -s -p no:cacheprovider tests/rollout/test_faults.py

docs-site: setup
	@tools/setup --test
	@.venv/bin/python tests/gates/docs_site.py

changelog: setup
	@tools/setup --test
	@PATH=$(CURDIR)/.venv/bin:$$PATH .venv/bin/python tools/changelog

bench:
	@tools/setup --test
	@molecule/lab/lab binaries kubernetes etcd kwok
	@PYTHONPATH=tests .venv/bin/python -m benchmarks --nodes $(NODES) --clusters $(CLUSTERS) --rounds $(ROUNDS) --cases "$(CASES)"

clean:
	@if [ -x molecule/lab/lab ]; then molecule/lab/lab down; fi
	@rm -rf .ansible .venv .coverage* .hypothesis .*_cache tests/output hostnet-multicluster-*.tar.gz

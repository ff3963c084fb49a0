# Every target works on a fresh Debian or Ubuntu machine with a Rust toolchain; see docs/guide.md.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
SCENARIOS ?= scenarios
REPORT ?= target/mountlab
# Programs of the machine that scenarios and tests drive: package=program pairs.
RUN_PACKAGES := bash=bash iproute2=ip python3=python3 python3-venv=- nodejs=node npm=npm kubernetes-client=kubectl
TEST_PACKAGES := $(RUN_PACKAGES) golang-go=go libnfs-utils=nfs-ls s3fs=s3fs uidmap=newuidmap
# Without Docker's daemon and a registry: a daemon to start, and what images are built with.
E2E_PACKAGES := $(RUN_PACKAGES) golang-go=go iptables=iptables libnfs-utils=nfs-ls mmdebstrap=mmdebstrap

.PHONY: help run test e2e bench lint build release tools-run tools-test tools-e2e clean

help: ## shows this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: tools-run release ## replays every scenario on the embedded backend
	target/release/mountlab run $(SCENARIOS) --report $(REPORT)

# Everything at once first: tests of one package run the program of another, and with other targets cargo would choose
# other features and compile the dependencies twice.
test: tools-test ## runs the whole test suite that needs no Docker
	$(CARGO) build --workspace --all-targets --locked
	$(CARGO) test --workspace --locked

e2e: tools-e2e release ## brings a kind cluster up, without a registry too, runs the tests on it and scenarios against it
	MOUNTLAB=$(CURDIR)/target/release/mountlab MOUNTLAB_BIN=$(CURDIR)/target/release/mountlab \
	  $(CARGO) test --workspace --locked --features lab-kind/e2e,system-tests/e2e --test environment --test kind -- \
	  --test-threads 1 --nocapture

bench: tools-test release ## prints the benchmarks
	target/release/mountlab bench boot
	target/release/mountlab bench mounts
	target/release/mountlab bench rollout

lint: ## format, clippy, documentation, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	tools/licences

build:
	$(CARGO) build --workspace --bins --locked

release:
	$(CARGO) build --release --locked -p cli -p agent-runtime

tools-run:
	@tools/install $(RUN_PACKAGES)

tools-test:
	@tools/install $(TEST_PACKAGES)
	@tools/csi-sanity >/dev/null

tools-e2e:
	@docker version >/dev/null 2>&1 || tools/install docker.io=dockerd
	@tools/install $(E2E_PACKAGES)

clean: ## removes what was built
	$(CARGO) clean

# Everything below builds outside the checkout; CARGO_TARGET_DIR and MAILCERT_CACHE say where else.
MAILCERT_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mailcert
CARGO_TARGET_DIR ?= $(MAILCERT_CACHE)/target
export MAILCERT_CACHE CARGO_TARGET_DIR

CARGO ?= cargo
# Most tests wait for servers, so more of them run at once than there are cores.
RUST_TEST_THREADS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
export RUST_TEST_THREADS
# Tests with long waits; they run beside all the others.
PATIENT := node acme_faults acme_solvers domains import
OTHERS := $(filter-out $(PATIENT),$(notdir $(basename $(patsubst %/main.rs,%,$(wildcard tests/*.rs */tests/*.rs tests/*/main.rs */tests/*/main.rs)))))
# Certificates that the benchmark issues, locally and with ACME.
N ?= 1000
N_ACME ?= 200
# Where the demo's cluster lives. A short path: sockets lie below it.
DEMO ?= /tmp/mailcert-demo
# Seconds that each fuzz target runs: five targets, a minute in all.
FUZZ_SECONDS ?= 12
TESTENV ?= $(CARGO) run --quiet --locked --package mailcert-testenv --bin testenv --

.PHONY: help test test-patient test-others test-fast packages tools vectors images fuzz fuzz-build generate lint bench bench-import bench-rollout simulate-year demo demo-shell demo-down

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## Prepare what is missing, then run every test (those with pods need root on Linux)
	$(CARGO) test --workspace --locked --no-run
	@$(MAKE) --no-print-directory packages tools vectors images TESTENV=$(CARGO_TARGET_DIR)/debug/testenv
	@$(MAKE) --no-print-directory --jobs=3 test-patient test-others fuzz-build
	@$(MAKE) --no-print-directory fuzz

test-patient:
	$(CARGO) test --workspace --locked $(PATIENT:%=--test %)

test-others:
	$(CARGO) test --workspace --locked --lib --bins $(OTHERS:%=--test %)

# It gives way to the tests, which wait for servers half of the time.
fuzz-build:
	@nice fuzz/run build

test-fast: ## Run the tests that need no server
	$(CARGO) test --workspace --locked --lib

packages: ## Install the Debian packages that are missing (as root; others are told their names)
	@$(TESTENV) packages || [ "$(CI)" != true ]

tools: ## Build the servers that are missing (about 20 min with empty caches, else nothing)
	@$(TESTENV) tools >/dev/null

vectors: packages ## Download the published test vectors that are missing (56 MB, else nothing)
	@$(TESTENV) vectors >/dev/null || [ "$(CI)" != true ]

images: packages ## Make the images that are missing (a few minutes, else nothing; as root)
	@if [ "$$(id -u)" = 0 ]; then $(TESTENV) images >/dev/null || [ "$(CI)" != true ]; fi

fuzz: ## Fuzz every parser of what strangers made, a minute in all (with the nightly toolchain; the first build takes a few)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run

generate: tools ## Write what is generated from the code: CRDs, install.yaml, reference
	UPDATE=1 $(CARGO) test --locked --test generated

lint: ## Check format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

bench: tools ## Measure against the raw API server
	N=$(N) N_ACME=$(N_ACME) $(CARGO) bench --locked --bench issue

bench-rollout: tools images ## 20 renewals under logins, reloaded in place and restarted (as root on Linux)
	@# Unoptimized: what is measured are the servers, the kubelet and the operator's pauses.
	$(CARGO) bench --locked --profile dev --bench rollout

bench-import: ## How long imports take that were made to take long
	$(CARGO) bench --locked --bench import

simulate-year: ## A year with 200 certificates of 45 days and a CA that fails often, in virtual time
	$(CARGO) bench --locked --bench year

demo: ## Show it at work, on a node of its own (as root on Linux) or a control plane; CLUSTER=current for yours
ifeq ($(CLUSTER),current)
	@$(if $(IMAGE),,echo 'make demo CLUSTER=current IMAGE=… [MAIL_IMAGE=…]: IMAGE is the operator as your cluster can pull it (see Dockerfile)'; exit 1)
	@$(TESTENV) demo-current $(IMAGE) $(MAIL_IMAGE)
else
	@# Unoptimized: quick to build, and fast enough for one mail server.
	$(CARGO) build --locked --package mailcert --package mailcert-testenv --bins
	@$(CARGO_TARGET_DIR)/debug/testenv demo $(DEMO) $(CARGO_TARGET_DIR)/debug/mailcert
endif

demo-shell: ## A shell with kubectl and helm for the demo's cluster
	@PATH="$(DEMO)/bin:$$PATH" $(TESTENV) exec $(DEMO) "$${SHELL:-/bin/sh}"

demo-down: ## End the demo, and remove everything of it; CLUSTER=current for yours
	@$(TESTENV) $(if $(filter current,$(CLUSTER)),demo-current-down,demo-down $(DEMO))

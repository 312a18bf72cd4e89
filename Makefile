# Everything below builds outside the checkout; CARGO_TARGET_DIR and MAILCERT_CACHE say where else.
MAILCERT_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mailcert
CARGO_TARGET_DIR ?= $(MAILCERT_CACHE)/target
export MAILCERT_CACHE CARGO_TARGET_DIR

CARGO ?= cargo
# Certificates that the benchmark issues.
N ?= 1000
# Where the demo's cluster lives. A short path: sockets lie below it.
DEMO ?= /tmp/mailcert-demo
TESTENV ?= $(CARGO) run --quiet --locked --package mailcert-testenv --bin testenv --

.PHONY: help test test-fast packages tools images lint bench demo demo-down

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## Prepare what is missing, then run every test (those with pods need root on Linux)
	$(CARGO) test --workspace --locked --no-run
	@$(MAKE) --no-print-directory packages tools images TESTENV=$(CARGO_TARGET_DIR)/debug/testenv
	$(CARGO) test --workspace --locked

test-fast: ## Run the tests that need no server
	$(CARGO) test --workspace --locked --lib

packages: ## Install the Debian packages that are missing (as root; others are told their names)
	@$(TESTENV) packages || [ "$(CI)" != true ]

tools: ## Build the servers that are missing (about 20 min with empty caches, else nothing)
	@$(TESTENV) tools >/dev/null

images: packages ## Make the images that are missing (a few minutes, else nothing; as root)
	@if [ "$$(id -u)" = 0 ]; then $(TESTENV) images >/dev/null || [ "$(CI)" != true ]; fi

lint: ## Check format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

bench: tools ## Measure against the raw API server
	N=$(N) $(CARGO) bench --locked

demo: packages tools images ## Start a node with an ACME server, a mail server and the operator's image (as root)
	$(CARGO) build --release --locked
	@$(TESTENV) demo $(DEMO) $(CARGO_TARGET_DIR)/release/mailcert

demo-down: ## End the demo
	@$(TESTENV) down $(DEMO)

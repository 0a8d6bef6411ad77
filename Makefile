# Everything that is done with a checkout. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# One after another: the steps share the machine and the build directory.
.NOTPARALLEL:

export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
SECONDS ?= 20
USERS ?= 1000
SEEDS ?= 100000
FIRST_SEED ?= 1
FUZZ_SECONDS ?= 180

.PHONY: help
help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## The whole system on this machine (SECONDS=20 USERS=1000)
	cargo run --release -- demo --seconds $(SECONDS) --users $(USERS)

.PHONY: test
test: prepare lint typescript ## All checks and tests, after installing what they need
	@.ci/tests

.PHONY: prepare
prepare: ## Install what the tests need, if it is missing
	@.ci/prepare

.PHONY: lint
lint: ## Formatting, clippy and documentation, without warnings
	cargo fmt --check
	cargo clippy --quiet --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --document-private-items

.PHONY: typescript
typescript: ## Types and tests of the Convex functions
	cd convex && npm test

.PHONY: rust
rust: ## Only the Rust tests
	@.ci/tests

.PHONY: twins
twins: ## Promises broken on purpose: the tests must notice
	@.ci/tests twins

.PHONY: soak
soak: soak-simulation ## The goals of docs/reliability.md in their long forms (hours; ONLY=g01 SEED=7 SEEDS=100000)
	@tools/soak $(ONLY)

.PHONY: soak-simulation
soak-simulation: ## The core in so many simulated worlds (SEEDS=100000 FIRST_SEED=1)
	CCS_SEEDS=$(SEEDS) CCS_FIRST_SEED=$(FIRST_SEED) cargo test --quiet --test it simulation::seeds_of -- --nocapture

.PHONY: bench
bench: ## The daemon beside a webhook route on Node (about five minutes)
	cargo bench --bench intake

.PHONY: release
release: ## The program as it is published; two builds of one commit and one compiler are equal
	@tools/release

.PHONY: reproducible
reproducible: ## Two such builds from nothing, compared (twice ten minutes)
	@tools/reproducible

.PHONY: fuzz
fuzz: ## Fuzz what reads bytes from outside (TARGETS="event journal" FUZZ_SECONDS=180, for each)
	@tools/fuzz $(FUZZ_SECONDS) $(TARGETS)

.PHONY: sbom
sbom: ## What the program is made of, as CycloneDX on stdout
	@node tools/sbom.mjs

.PHONY: fmt
fmt: ## Format the Rust sources
	cargo fmt

.PHONY: clean
clean: ## Remove what was built
	cargo clean
	rm -rf convex/node_modules tests/*/node_modules fuzz/Cargo.lock

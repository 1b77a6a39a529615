# Maestro: `make help` lists the targets. `demo` and `test` install what they miss.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
VENV := $(CURDIR)/.cache/venv
BUF := $(CURDIR)/.cache/bin/buf
MAESTRO := $(TARGET)/release/maestro
WORKSPACE := --workspace --locked
# Where builds of earlier releases are kept, for the test of mixed versions.
PREVIOUS ?= $(HOME)/.cache/maestro/previous

# Folder of the policy that `make live` serves: policy.json, policy.safetensors.
POLICY ?= services/policy-worker/assets

# How long each fuzz target runs.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= skill_bundle skill_files template answer

# Tests that talk to the services in Python, or serve the language model, use this interpreter.
export MAESTRO_PYTHON ?= $(VENV)/bin/python

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup-demo release ## Solve 18 real tasks with local frozen models, showing every step
	$(MAESTRO) models pull
	$(VENV)/bin/python demo/demo.py --maestro $(MAESTRO)

.PHONY: test
test: ## Run all tests, on a real etcd, real models and real processes
	scripts/setup.sh test
	scripts/previous.sh $(PREVIOUS) >/dev/null
	$(CARGO) build $(WORKSPACE) --bins --tests
	$(TARGET)/debug/maestro models pull
	MAESTRO_PREVIOUS=$$(scripts/previous.sh $(PREVIOUS)) $(CARGO) nextest run $(WORKSPACE)
	$(CARGO) test $(WORKSPACE) --doc --quiet

.PHONY: lint
lint: ## Check formatting, lints, dependencies and protos
	scripts/setup.sh lint
	$(CARGO) fmt --all --check
	$(BUF) lint
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources
	$(CARGO) clippy $(WORKSPACE) --all-targets -- -D warnings

.PHONY: format
format: ## Format the Rust sources
	$(CARGO) fmt --all

.PHONY: doc
doc: ## Build the API documentation; a broken link is an error
	scripts/setup.sh build
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(WORKSPACE) --no-deps

.PHONY: release
release: ## Build all programs, optimised
	scripts/setup.sh build
	$(CARGO) build $(WORKSPACE) --release --bins

.PHONY: images
images: ## Build the container images, into target/images; needs buildah
	scripts/setup.sh build
	CARGO_TARGET_DIR=$(TARGET)/reproducible images/compile.sh $(TARGET)/images/programs
	images/build.sh --binaries $(TARGET)/images/programs --output $(TARGET)/images

.PHONY: setup-demo
setup-demo:
	scripts/setup.sh demo

.PHONY: bench
bench: release ## Measure what the orchestration itself costs a step
	$(MAESTRO) bench overhead

.PHONY: policy
policy: release ## Train the policy that the programs come with, from the recorded calls in training/
	rm -rf $(TARGET)/policy
	$(MAESTRO) train training/recorded --split train,val --held-out 0 \
		--config training/policy.yaml --paraphrases training/descriptions.jsonl --out $(TARGET)/policy
	cp $(TARGET)/policy/policy.json $(TARGET)/policy/policy.safetensors services/policy-worker/assets/

.PHONY: evaluate
evaluate: setup-demo release ## Score recorded tasks: make evaluate DATA=folder
	@test -n '$(DATA)' || { echo 'usage: make evaluate DATA=folder' >&2; exit 2; }
	$(MAESTRO) models pull
	$(VENV)/bin/python scripts/evaluate_data.py $(DATA) --maestro $(MAESTRO) \
		--paraphrase tests/paraphrases/paraphrases.jsonl

.PHONY: live
live: setup-demo release ## Let alerts happen and fill the dashboards, with a real Prometheus
	command -v prometheus-alertmanager >/dev/null || { echo 'install prometheus and prometheus-alertmanager' >&2; exit 2; }
	$(VENV)/bin/python tests/live/dashboards.py --policy $(POLICY) --binaries $(TARGET)/release
	$(VENV)/bin/python tests/live/alerts.py --binaries $(TARGET)/release

.PHONY: fuzz
fuzz: ## Fuzz what reaches Maestro from outside; needs a nightly toolchain and cargo-fuzz
	cd fuzz && for target in $(FUZZ_TARGETS); do \
		$(CARGO) +nightly fuzz run --fuzz-dir . "$$target" -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=4096 -max_len=65536; \
	done

.PHONY: chart
chart: ## Check the Helm chart with two versions of helm, its alerts and its dashboards
	scripts/setup.sh chart
	helm/tests/install-helm.sh $(CURDIR)/.cache/helm
	$(CURDIR)/.cache/chart/bin/python helm/tests/run.py \
		--helm $(CURDIR)/.cache/helm/helm-3.17.2 --helm $(CURDIR)/.cache/helm/helm-4.3.1
	promtool test rules helm/tests/alerts/*.yaml
	$(CURDIR)/.cache/chart/bin/python scripts/check_dashboards.py

# What there is to do here; `make` alone lists it.
SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
.PHONY: help demo test e2e recordings bench lint format crds deploy golden image-tree sbom cluster clean-cache

CARGO ?= cargo

help: ## Show this
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | column -t -s "$$(printf '\t')"

demo: ## Watch two tests run in a cluster of their own, one that succeeds and one that cannot (3 minutes once built)
	$(CARGO) build --locked
	tests/cluster/with-cluster demo/demo

test: ## Run all tests, against a real API server
	tests/cluster/build-tools >/dev/null
	$(CARGO) build --locked --workspace --all-targets
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} tests/cluster/with-cluster $(CARGO) test --locked --workspace $(TEST)

e2e: ## Run real Locust pods on a real node (Linux, root), or on the cluster that LOTEST_E2E_KUBECONFIG names
	$(CARGO) test --locked --test e2e --no-run
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-3} tests/e2e/with-node $(CARGO) test --locked --test e2e $(TEST)

recordings: ## Record again what a real kubelet does, as golden timelines (Linux, root; 12 minutes)
	$(CARGO) build --locked
	tests/e2e/with-node tests/e2e/recordings/record

bench: ## Measure speed and memory, and print them beside their goals (10 minutes once built)
	tests/cluster/build-tools >/dev/null
	CARGO=$(CARGO) benches/run

lint: ## Check format, clippy and dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) deny check --hide-inclusion-graph

format: ## Format the code
	$(CARGO) fmt --all

crds: ## Write crds/ and src/engine/types.json from the Rust types
	$(CARGO) run --locked --quiet --package lotest-core --example generate -- crd >crds/.new
	mv crds/.new crds/locusttests.locust.io.yaml
	$(CARGO) run --locked --quiet --package lotest-core --example generate -- types >src/engine/.new
	mv src/engine/.new src/engine/types.json

deploy: ## Write deploy/base from deploy/chart, and the chart's copy of the CustomResourceDefinition
	cp crds/locusttests.locust.io.yaml deploy/chart/files/crd.yaml
	deploy/base/generate

golden: ## Write the expected results of golden cases and error messages again; review them with git diff
	$(CARGO) run --locked --quiet -- check --update
	INSTA_UPDATE=always $(CARGO) test --locked --quiet --test pure bundle_errors
	$(CARGO) run --locked --quiet -- check --layer tests/layers/team --update
	$(CARGO) run --locked --quiet -- check --layer tests/e2e/recordings/layer --update
	INSTA_UPDATE=always $(CARGO) test --locked --quiet --test cli

image-tree: ## Make the files of the container image in target/image, without Docker
	rm -rf target/image
	image/build target/image

sbom: ## Print what the program is made of (CycloneDX)
	@image/sbom

cluster: ## A shell with kubectl in a cluster of its own
	tests/cluster/with-cluster bash

clean-cache: ## Remove the built cluster programs
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/lotest/cluster"

# How to build, run and test periscope. `make help` lists the targets; CONTRIBUTING.md says when to use which.
#
# All crates share one target folder: target/, or CARGO_TARGET_DIR where that is set.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

WEB := server/web
OIDC := server/tests/oidc
export CARGO_TARGET_DIR ?= $(CURDIR)/target
PROGRAM = $(CARGO_TARGET_DIR)/release/periscope
# What the parts of the last `make test` printed.
REPORT = $(CARGO_TARGET_DIR)/test-report

# What `make test` runs, cheapest first, each of them a target of its own.
PARTS := fmt test-web e2e-ui lint test-core fuzz-replay autobahn mutants test-server interop chart e2e-list e2e e2e-serve test-login docs guide

BENCH_PARTS = $(if $(CASE),$(if $(filter 1 2 3 4,$(CASE)),bench-codecs)$(if $(filter 10,$(CASE)),bench-memory)$(if $(filter 19,$(CASE)),bench-page),bench-codecs bench-memory bench-page)

CORE_TEST = cargo test --locked --workspace --exclude periscope --exclude periscope-e2e --exclude periscope-fuzz --all-features
CORE_FEATURES = $(shell awk '/^\[/ { inside = ($$0 == "[features]") } inside && /^[a-z]/ { print $$1 }' core/Cargo.toml)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: $(WEB)/dist/index.html ## the program with the UI inside, at target/release/periscope
	cargo build --locked --release -p periscope
	@echo $(PROGRAM)

.PHONY: run
run: build ## build, then start the demo; DEMO="--listen 127.0.0.1:9090" passes options on
	$(PROGRAM) demo $(DEMO)

.PHONY: test
test: ## run every part below, say how long each took, fail if one failed
	@REPORT="$(REPORT)" tools/run-parts.sh $(PARTS)

.PHONY: fmt
fmt: ## the Rust code is formatted (mend with `cargo fmt --all`)
	cargo fmt --all --check

.PHONY: lint
lint: ## clippy without warnings: everything, and core with no feature and with each one alone
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	cargo clippy --locked -p periscope-core --no-default-features -- -D warnings
	for feature in $(CORE_FEATURES); do \
	  cargo clippy --locked -p periscope-core --no-default-features --features "$$feature" -- -D warnings; \
	done

.PHONY: test-core
test-core: ## tests of the core and of the runtimes, with every feature
	$(CORE_TEST) -- --skip bytes_are_conserved
	$(CORE_TEST) --test simulation bytes_are_conserved -- --nocapture

.PHONY: fuzz-replay
fuzz-replay: ## every committed input of the fuzz targets, three feeds each, with a plain toolchain
	cargo test --locked -p periscope-fuzz

.PHONY: fuzz
fuzz: ## the fuzz targets under libFuzzer, SECONDS each (60); TARGETS="ws spdy" for some of them
	fuzz/run.sh $(or $(SECONDS),60) $(TARGETS)

.PHONY: autobahn
autobahn: ## both roles of our WebSocket against the Autobahn test suite (needs python2.7)
	tools/autobahn.sh

.PHONY: mutants
mutants: ## the session broken in thirteen ways, each of which the simulation must catch
	node tools/mutants.mjs

.PHONY: test-server
test-server: $(WEB)/dist/index.html ## tests of the server, with real kubectls and with moto for AWS (which it fetches where they are missing)
	tools/need-moto.sh >/dev/null
	sh server/tests/tools/kubectl-1.20.sh >/dev/null || { apt-get update -qq && sh server/tests/tools/kubectl-1.20.sh >/dev/null; }
	tools="$$(tools/need-kubectl.sh)"; PATH="$$tools:$$PATH" cargo test --locked -p periscope --all-features

.PHONY: interop
interop: $(WEB)/dist/index.html ## both halves against Kubernetes' own code: its exec server, client-go, a kubectl built from its module (needs Go)
	cd server/interop && go vet ./...
	server/interop/build.sh
	sh server/tests/tools/kubectl-1.20.sh >/dev/null || { apt-get update -qq && sh server/tests/tools/kubectl-1.20.sh >/dev/null; }
	tools="$$(PERISCOPE_BUILD_KUBECTL=1 tools/need-kubectl.sh)"; PATH="$$tools:$$PATH" cargo test --locked -p periscope --all-features \
	  --test interop_clients --test interop_peer --test kubectl --test kubectl_exec

.PHONY: chart
chart: $(WEB)/dist/index.html ## the Helm chart: the real Helm, Kubernetes' own types, and `periscope config check` for each value (needs Go)
	interop="$$(server/interop/build.sh)"; helm="$$(tools/need-helm.sh)"; cargo build --locked -p periscope --all-features; \
	  tools/test-chart.mjs "$$helm/helm" "$$interop" "$(CARGO_TARGET_DIR)/debug/periscope"

.PHONY: e2e-list
e2e-list: $(WEB)/dist/index.html ## one table: two runtimes, three transports, two apiservers (needs Go); LIST="tty" for some of its rows
	! cargo tree --locked -p periscope-runtime-smol -e normal,build,dev --prefix none | grep '^tokio '
	server/interop/build.sh
	LIST="$(LIST)" cargo test --locked -p periscope-e2e

.PHONY: test-web
test-web: $(WEB)/node_modules/.ready $(WEB)/dist/index.html ## the web UI: types, unit tests, build
	cd $(WEB) && npm run lint
	cd $(WEB) && npm test

.PHONY: e2e-ui
e2e-ui: $(WEB)/dist/index.html ## every state of the web UI in Chromium, against a fake gateway
	chromium=$$(tools/need-chromium.sh); cd $(WEB) && env -u PERISCOPE_URL PERISCOPE_CHROMIUM="$$chromium" npm run e2e

.PHONY: e2e
e2e: build ## the journey and the terminal's promises through the real program, `periscope demo`, in Chromium
	chromium=$$(tools/need-chromium.sh); cd $(WEB) && PERISCOPE_CHROMIUM="$$chromium" $(CURDIR)/tools/with-demo.sh $(PROGRAM) npm run e2e

.PHONY: test-login
test-login: build $(OIDC)/node_modules/.ready ## login and logout of `periscope serve` through a real identity provider, in Chromium
	chromium=$$(tools/need-chromium.sh); cd $(OIDC) && PERISCOPE_PROGRAM=$(PROGRAM) PERISCOPE_CHROMIUM="$$chromium" npm test

.PHONY: e2e-serve
e2e-serve: build $(OIDC)/node_modules/.ready ## the web UI on `periscope serve`: several people, logins that end, records, a gateway that is stopped and killed
	chromium=$$(tools/need-chromium.sh); cd $(OIDC) && PERISCOPE_PROGRAM=$(PROGRAM) PERISCOPE_CHROMIUM="$$chromium" npm run serve

$(OIDC)/node_modules/.ready: $(OIDC)/package.json $(OIDC)/package-lock.json
	tools/need-node.sh
	cd $(OIDC) && npm ci --no-audit --no-fund
	touch $@

$(WEB)/dist/index.html: $(WEB)/node_modules/.ready $(shell find $(WEB)/src $(WEB)/public -type f) $(WEB)/index.html $(WEB)/vite.config.ts
	cd $(WEB) && npm run build

$(WEB)/node_modules/.ready: $(WEB)/package.json $(WEB)/package-lock.json
	tools/need-node.sh
	cd $(WEB) && npm ci --no-audit --no-fund
	touch $@

.PHONY: bench
bench: $(BENCH_PARTS) ## speed and cost as ratios, into docs/benchmarks.md; CASE=1 to 4, CASE=10 or CASE=19 for a part

.PHONY: bench-codecs
bench-codecs: ## cases 1 to 4: our WebSocket codec against three other crates
	taskset -c 0 cargo bench --locked --manifest-path core/benches/Cargo.toml --bench websocket
	cargo run --locked --release --manifest-path core/benches/Cargo.toml --bin report -- docs/benchmarks.md

.PHONY: bench-memory
bench-memory: build ## case 10: memory of an idle session, against two proxies and a naive bridge
	tools/need-proxies.sh
	cargo run --locked --release --manifest-path server/benches/Cargo.toml -- report docs/benchmarks.md --program $(PROGRAM)

.PHONY: bench-page
bench-page: build ## case 19: from a cold page to a shell that echoes, and from a key to its echo, in Chromium
	chromium=$$(tools/need-chromium.sh); cd $(WEB) && PERISCOPE_CHROMIUM="$$chromium" $(CURDIR)/tools/with-demo.sh $(PROGRAM) node bench/interactive.mjs $(CURDIR)/docs/benchmarks.md

.PHONY: docs
docs: ## rustdoc of the core, private items too, without warnings; pages in step with code and manifests
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked -p periscope-core --all-features --no-deps --document-private-items
	tools/check-docs.mjs

.PHONY: guide
guide: ## every test that docs/guide-coverage.md names has passed in the `make test` before
	tools/check-ran.mjs $(REPORT)

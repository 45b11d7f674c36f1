# `make` lists what there is to do.
.DEFAULT_GOAL := help
.PHONY: help setup build demo demo-down test tcp-ao check release bench fuzz install clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the Debian packages that building and testing need (root)
	@.ci/setup

build: setup ## Build linnetd, linnet and the lab runner
	cargo build --locked --workspace --bins

demo: build ## Show the main job on real routers in network namespaces (root); KEEP=1 leaves it up
	@cargo run --locked --quiet --package topology-tests --bin lab -- demo $(if $(KEEP),--keep)

demo-down: ## End a demo that was kept
	@cargo run --locked --quiet --package topology-tests --bin lab -- down two-racks

test: build ## Run every test, the topologies with real routers included (root)
	cargo test --locked --workspace --no-fail-fast

tcp-ao: build ## See sessions signed by TCP-AO on a kernel that has it, which is built for this once (some minutes)
	@.ci/setup bc bison flex libelf-dev
	cargo test --locked --package topology-tests --test labs tcp_ao -- --ignored --test-threads 1

check: setup ## What CI checks besides the tests: format, lints, docs, dependencies
	cargo fmt --all --check
	.ci/dependencies
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

release: setup ## Build for release, laid out by what linnetd does at work (root, else without; twenty minutes)
	@.ci/release

bench: setup ## Measure Linnet beside BIRD, FRR, GoBGP and OpenBGPD (root; an hour); BENCH="--scenarios S1 --daemons linnet,bird" for less
	@.ci/release linnet-bench
	@$(or $(CARGO_TARGET_DIR),target)/release/bench run --json bench.json $(BENCH)

# libFuzzer's instrumentation is behind flags that a stable compiler takes with RUSTC_BOOTSTRAP.
FUZZ ?= $(notdir $(wildcard fuzz/corpus/*))
FUZZ_SECONDS ?= 60
fuzz: setup ## Let libFuzzer look for input that breaks something, a minute each; FUZZ=session FUZZ_SECONDS=3600 for one and longer
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@for target in $(FUZZ); do \
	    echo "fuzz: $$target for $(FUZZ_SECONDS) s" && \
	    RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo fuzz run --fuzz-dir fuzz --sanitizer none --features libfuzzer $$target -- \
	        -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 -rss_limit_mb=1024 || exit 1; \
	done

install: release ## Build for release and install linnetd and linnet into PREFIX (default /usr/local)
	install -D --mode 755 --target-directory $(DESTDIR)$(or $(PREFIX),/usr/local)/bin $(addprefix $(or $(CARGO_TARGET_DIR),target)/release/,linnetd linnet)

clean: ## Remove what was built
	cargo clean

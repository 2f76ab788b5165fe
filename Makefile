# The two commands that matter: `make demo` shows the main job, `make test` proves it. Both do their own set-up.
.PHONY: demo test lint soak bench setup

demo:
	cargo run --quiet --bin portolan -- demo $(DEMO)

# At most 20 minutes on two idle cores after the build.
test: setup
	cargo test --workspace --locked

# What the tests run against beside our own code: dig and a validating, subnet-aware resolver, from Debian's packages.
setup:
	sh tests/setup.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

# Long runs: more property cases and seeds, then each parser under a coverage-guided fuzzer. SOAK_MINUTES is per fuzz target.
SOAK_MINUTES ?= 10
soak: setup
	PROPTEST_CASES=20000 cargo test --workspace --locked --release
	sh tests/fuzz/run.sh $(SOAK_MINUTES)

bench:
	sh tests/bench/run.sh

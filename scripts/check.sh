#!/bin/bash
# What can be known in a minute, once compiled: format, lints, documentation, licences, a build without default features,
# and the tests that need nothing but the program.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/prepare.sh
command -v cargo >/dev/null 2>&1 || PATH=$HOME/.cargo/bin:$PATH

step "Format"
cargo fmt --all --check
step "Lints"
cargo clippy --workspace --all-targets -- -D warnings
step "Documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items
step "Without default features"
cargo clippy --no-default-features -- -D warnings
step "Licences and sources of dependencies"
cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny
cargo deny check --hide-inclusion-graph licenses bans sources

step "Tests that need nothing else"
# Most of them wait for a server, a lock or a signal.
RUST_TEST_THREADS=$((4 * $(nproc))) cargo test --lib --test it

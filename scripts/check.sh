#!/bin/bash
# The checks that take about a minute when everything is compiled: format, lints, documentation, licences, a build
# without default features, and the tests that need only the program.
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

step "Tests that need only the program"
# They create and sync about 100,000 files. This is done in memory if there is enough room.
room=$(df --output=avail /dev/shm 2>/dev/null | tail -n 1) || room=0
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && [ "$room" -ge 4194304 ]; then
    TMPDIR=$(mktemp -d /dev/shm/driverkit-matrix-check.XXXXXX)
    export TMPDIR
    # Some tests run the program as another user.
    chmod 755 "$TMPDIR"
    trap 'rm -rf "$TMPDIR"' EXIT
fi
# More threads than processors: most tests wait for a server, a lock or a signal.
RUST_TEST_THREADS=$((4 * $(nproc))) cargo test --lib --test it

#!/bin/bash
# Tests the Kubernetes executor on a real cluster of one node, as root:
#
#   scripts/test-cluster.sh [ARGUMENTS OF THE TESTS]     all tests, or those whose names hold a word
#   scripts/test-cluster.sh --bench                      the numbers of docs/benchmarks.md
#
# The cluster's programs are built from Go modules the first time (some 20 CPU-minutes); that is why `make test` leaves
# these tests out. The cluster stays up; tests/cluster/down.sh ends it.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/prepare.sh
prepare_machine --tests

step "Cluster"
KUBECONFIG=$(tests/cluster/up.sh)
export KUBECONFIG

build_program debug
prepare_images bookworm sid proof # out of sid come the emulator and its libraries
prepare_drivers
# The daemon has one once a build has used it.
for name in bookworm proof; do
    image=driverkit-matrix/builder:$name
    docker image inspect "$image" >/dev/null 2>&1 ||
        docker import "${DRIVERKIT_MATRIX_IMAGES:-${XDG_CACHE_HOME:-$HOME/.cache}/driverkit-matrix/images}/$name.tar" "$image" >/dev/null
    tests/cluster/load-image.sh "$image"
done

if [ "${1:-}" = --bench ]; then
    step "Benchmarks"
    cargo bench --bench kubernetes
    exit
fi
step "Tests"
cargo test --test system cluster:: -- --ignored --test-threads=1 "$@"

#!/bin/bash
# Tests the Kubernetes executor on a real cluster with one node. Run it as root:
#
#   scripts/test-cluster.sh [ARGUMENTS OF THE TESTS]     all tests, or those whose names contain a word
#   scripts/test-cluster.sh --bench                      the benchmarks of docs/benchmarks.md
#
# The first run builds the cluster's programs from Go modules (about 20 CPU-minutes), so `make test` does not run these
# tests. The cluster keeps running afterwards; tests/cluster/down.sh stops it.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/prepare.sh
prepare_machine --tests

step "Cluster"
KUBECONFIG=$(tests/cluster/up.sh)
export KUBECONFIG

build_program debug
prepare_images bookworm sid proof # sid has the emulator and its libraries
prepare_drivers
# The Docker daemon has an image only after a build has used it.
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

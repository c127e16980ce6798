#!/bin/bash
# Runs the benchmarks of docs/benchmarks.md and prints each result with its target value.
#
#   scripts/bench.sh           plan, lists and locks, cached run of 1,000 builds, overhead of a Docker job, unpacking:
#                              takes minutes when everything is compiled
#   scripts/bench.sh --real    also a cached run of 51,472 builds (ten minutes to fill the cache) and
#                              cold runs of real builds (scripts/bench-cold.sh, about twenty minutes)
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
'' | --real) ;;
*)
    echo "usage: scripts/bench.sh [--real]" >&2
    exit 2
    ;;
esac

. scripts/prepare.sh
prepare_machine --tests
build_program release
# The benchmark of a Docker job's overhead uses this image.
prepare_images bookworm

step "Benchmarks"
cargo bench --bench commands
cargo bench --bench kernels
cargo bench --bench docker
cargo bench --bench unpack
cargo bench --bench stop
cargo bench --bench first_line
if [ "${1:-}" = --real ]; then
    cargo bench --bench commands -- cached-51472
    scripts/bench-cold.sh
fi

#!/bin/bash
# Prepares what the tests need (a Docker daemon, builder images, driver sources, the mirror), then runs all tests.
# Arguments are passed to cargo test.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/prepare.sh
prepare_machine --tests
build_program debug
prepare_images
prepare_images proof
prepare_drivers
prepare_kernel_source

step "Tests"
# All tests run, also after a failure.
cargo test --no-fail-fast "$@"

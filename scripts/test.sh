#!/bin/bash
# Runs all tests, after making ready what they need: a Docker daemon, builder images, driver sources, the mirror.
# Arguments go to cargo test.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/prepare.sh
prepare_machine --tests
build_program debug
prepare_images
prepare_drivers
prepare_kernel_source

step "Tests"
# One failure hides no other.
cargo test --no-fail-fast "$@"

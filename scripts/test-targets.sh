#!/bin/bash
# Builds a module for a kernel of each distribution, and prints a table of targets and results. The packages have the
# formats of the distribution and are served by mirrors on this machine. See docs/targets.md and
# tests/system/targets.rs.
#
#   TARGETS='centos photon' scripts/test-targets.sh    only these targets
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/prepare.sh
prepare_machine --tests
build_program debug
prepare_images bookworm sid
prepare_drivers
prepare_kernel_source

step "A module for each distribution"
cargo test --test system targets:: -- --ignored --nocapture
[ -n "${TARGETS:-}" ] || cargo test --test system host_programs:: -- --ignored
